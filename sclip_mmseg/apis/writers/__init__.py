"""Results as files: a writer per format, each a registered class in a file of its own."""

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
