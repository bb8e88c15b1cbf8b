"""Own classes on own pictures."""

from .drawing import draw_overlay
from .segment import Segmentation, build_segmentor, list_methods, read_picture, segment

__all__ = [
    'Segmentation',
    'build_segmentor',
    'draw_overlay',
    'list_methods',
    'read_picture',
    'segment',
]
