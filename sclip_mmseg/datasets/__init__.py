"""Datasets that mmseg does not have, and the query lists of the benchmarks.

Names are imported lazily, so that the command line can read the records in :mod:`.benchmarks`
without importing mmseg and PyTorch.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    'QUERY_LISTS': 'shipped_queries',
    'COCOObjectDataset': 'coco_object',
    'FolderDataset': 'folder',
    'PascalVOC20Dataset': 'voc20',
    'QuerySet': 'query_set',
    'bright_palette': 'palette',
    'distinct_palette': 'palette',
    'load_queries': 'query_set',
    'voc_palette': 'palette',
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'.{_MODULES[name]}', __name__), name)
