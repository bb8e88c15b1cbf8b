"""Datasets that mmseg lacks, and the query lists of the benchmarks."""

from .coco_object import COCOObjectDataset
from .folder import FolderDataset
from .palette import bright_palette, voc_palette
from .query_set import QUERY_LISTS, QuerySet, load_queries
from .voc20 import PascalVOC20Dataset

__all__ = [
    'QUERY_LISTS',
    'COCOObjectDataset',
    'FolderDataset',
    'PascalVOC20Dataset',
    'QuerySet',
    'bright_palette',
    'load_queries',
    'voc_palette',
]
