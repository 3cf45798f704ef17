"""The CPU backend: C++ generated from the declarations in ``models.py``, driven through ctypes."""
