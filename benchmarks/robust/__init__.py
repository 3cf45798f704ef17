"""Parts of ``benchmarks/robustness.py``: damaged files, kills, sanitizers."""
