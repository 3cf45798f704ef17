"""The GeNN backend: pygenn models from the declarations in ``models.py``, and the host's part around them."""
