"""Segmentation of your own images and videos into your own classes."""

from ..datasets.query_set import parse_classes
from ..old_names import keep_old_names
from ..visualization import draw_classes, draw_legend, draw_overlay
from .files import FileResult, segment_files, segment_folder
from .media import read_image
from .own_config import is_trained
from .segment import build_segmentor, list_methods, segment, with_classes
from .segmentation import Segmentation

__all__ = [
    'FileResult',
    'Segmentation',
    'build_segmentor',
    'draw_classes',
    'draw_legend',
    'draw_overlay',
    'is_trained',
    'list_methods',
    'parse_classes',
    'read_image',
    'segment',
    'segment_files',
    'segment_folder',
    'with_classes',
]

keep_old_names(__name__, read_picture='read_image')
