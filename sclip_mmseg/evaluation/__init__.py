"""Evaluation: what is counted, what is kept of it, and the numbers that follow."""

from .confusion_metric import ConfusionMetric
from .result import Result

__all__ = ['ConfusionMetric', 'Result']
