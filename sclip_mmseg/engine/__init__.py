"""Additions to mmengine's runner."""

from ..old_names import keep_old_names
from . import checkpoint_loader  # noqa: F401
from .evaluation_runner import EvaluationRunner
from .frozen_model_wrapper import FrozenModelWrapper
from .input_check_hook import InputCheckHook
from .overlay_hook import OverlayHook
from .progress_hook import ProgressLoggerHook

keep_old_names(
    __name__,
    CheckpointHook='a config or a program names the checkpoint, without a hook',
    ReportingIoUMetric='use sclip_mmseg.evaluation.ConfusionMetric',
    ResumableTestLoop='evaluation.ResumableTestLoop',
    evaluation_settings='evaluation.make_fingerprint',
    list_changes='evaluation.list_changes',
)

__all__ = [
    'EvaluationRunner',
    'FrozenModelWrapper',
    'InputCheckHook',
    'OverlayHook',
    'ProgressLoggerHook',
]
