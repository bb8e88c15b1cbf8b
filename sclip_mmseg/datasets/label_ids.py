"""Ids that label files have for classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def ids_in_files(metainfo: Mapping[str, Any], reduce_zero_label: bool) -> np.ndarray:
    """Ids that a dataset's label files have for its classes, int64 ``[K]``.

    Args:
        metainfo: The dataset's: ``classes``, and ``label_ids`` where the ids are stated.
        reduce_zero_label: Whether 0 stands for no class, so that classes begin at 1.
    """
    if (stated := metainfo.get('label_ids')) is not None:
        return np.array(stated, np.int64)
    return np.arange(len(metainfo['classes'])) + int(reduce_zero_label)
