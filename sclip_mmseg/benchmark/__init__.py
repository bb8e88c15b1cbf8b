"""What ``tools/benchmark.py`` does: pairs of method and benchmark, and tables of their results."""
