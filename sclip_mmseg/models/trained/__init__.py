"""Systems that were trained for segmentation, from their published checkpoints."""

from .groupvit import GroupViTEncoder
from .groupvit_text import GroupViTTextHead
from .tcl import TCLEncoder

__all__ = ['GroupViTEncoder', 'GroupViTTextHead', 'TCLEncoder']
