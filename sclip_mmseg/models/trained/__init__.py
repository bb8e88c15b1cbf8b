"""Systems that were trained for segmentation, from their published checkpoints."""

from .groupvit import GroupViTEncoder
from .groupvit_text import GroupViTTextHead
from .published import TRAINED, find_trained, resolve_trained
from .tcl import TCLEncoder

__all__ = [
    'TRAINED',
    'GroupViTEncoder',
    'GroupViTTextHead',
    'TCLEncoder',
    'find_trained',
    'resolve_trained',
]
