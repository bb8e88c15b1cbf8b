"""The suite of ``tools/benchmark.py``: pairs of method and benchmark, and their tables."""
