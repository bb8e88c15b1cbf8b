"""Many decisions from one pass of the towers."""

from .loop import ThresholdSweepLoop

__all__ = ['ThresholdSweepLoop']
