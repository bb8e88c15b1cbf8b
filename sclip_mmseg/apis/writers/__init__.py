"""Results as files: a registered writer class per format, each in its own module."""

from .base import ClassInfo, Item, MapItem, Record, Writer
from .build import build_writers, check_size, finish_all, write_all
from .labels import write_labels

__all__ = [
    'ClassInfo',
    'Item',
    'MapItem',
    'Record',
    'Writer',
    'build_writers',
    'check_size',
    'finish_all',
    'write_all',
    'write_labels',
]
