"""Evaluate many settings of the decision rule with one pass of the towers."""

from .loop import SettingResult, ThresholdSweepLoop
from .run import sweep

__all__ = ['SettingResult', 'ThresholdSweepLoop', 'sweep']
