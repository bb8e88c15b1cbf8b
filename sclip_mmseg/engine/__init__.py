"""What the package adds to mmengine's runner."""

from .frozen_model_wrapper import FrozenModelWrapper
from .input_check_hook import InputCheckHook

__all__ = ['FrozenModelWrapper', 'InputCheckHook']
