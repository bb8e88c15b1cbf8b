"""Additions to mmengine's runner."""

from . import checkpoint_loader  # noqa: F401
from .evaluation_runner import EvaluationRunner
from .frozen_model_wrapper import FrozenModelWrapper
from .input_check_hook import InputCheckHook
from .progress_hook import ProgressLoggerHook

__all__ = [
    'EvaluationRunner',
    'FrozenModelWrapper',
    'InputCheckHook',
    'ProgressLoggerHook',
]
