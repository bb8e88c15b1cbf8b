"""Systems trained for segmentation, loaded from their published checkpoints."""

from .groupvit import GroupViTEncoder
from .groupvit_text import GroupViTTextHead
from .published import TRAINED, find_trained
from .sam3 import SAM3Encoder
from .sam3_layout import find_sam3
from .sam3_text import SAM3TextHead
from .talk2dino import Talk2DINOEncoder
from .talk2dino_text import Talk2DINOTextHead, find_head
from .tcl import TCLEncoder

__all__ = [
    'TRAINED',
    'GroupViTEncoder',
    'GroupViTTextHead',
    'SAM3Encoder',
    'SAM3TextHead',
    'TCLEncoder',
    'Talk2DINOEncoder',
    'Talk2DINOTextHead',
    'find_head',
    'find_sam3',
    'find_trained',
]
