"""Many decisions from one pass of the towers."""

from .loop import SettingResult, ThresholdSweepLoop
from .run import sweep

__all__ = ['SettingResult', 'ThresholdSweepLoop', 'sweep']
