"""What the package adds to mmengine's runner."""

from .checkpoint_hook import CheckpointHook
from .evaluation_runner import EvaluationRunner
from .frozen_model_wrapper import FrozenModelWrapper
from .input_check_hook import InputCheckHook
from .progress_hook import ProgressLoggerHook

__all__ = [
    'CheckpointHook',
    'EvaluationRunner',
    'FrozenModelWrapper',
    'InputCheckHook',
    'ProgressLoggerHook',
]
