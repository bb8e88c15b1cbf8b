"""Evaluate methods on benchmarks and on your own images (``sclip benchmark``, ``evaluate``)."""
