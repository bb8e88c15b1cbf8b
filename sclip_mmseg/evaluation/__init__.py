"""Evaluation: run it, save the confusion matrix of each image, compute metrics and intervals."""

from .confusion_metric import ConfusionMetric
from .fingerprint import list_changes, make_fingerprint
from .oracles import KnownClassesOracle, RegionOracle
from .result import Result
from .resumable_test_loop import ResumableTestLoop
from .run import evaluate
from .statistics import bootstrap, claim, paired_difference

__all__ = [
    'ConfusionMetric',
    'KnownClassesOracle',
    'RegionOracle',
    'Result',
    'ResumableTestLoop',
    'bootstrap',
    'claim',
    'evaluate',
    'list_changes',
    'make_fingerprint',
    'paired_difference',
]
