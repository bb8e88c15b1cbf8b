"""Ids of classes in label files."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def ids_in_files(metainfo: Mapping[str, Any], reduce_zero_label: bool) -> np.ndarray:
    """Ids of a dataset's classes in its label files, int64 ``[K]``.

    Args:
        metainfo: The dataset's metainfo: ``classes``, and optionally ``label_ids``.
        reduce_zero_label: Whether 0 is ignored, so that classes start at 1.
    """
    if (stated := metainfo.get('label_ids')) is not None:
        return np.array(stated, np.int64)
    return np.arange(len(metainfo['classes'])) + int(reduce_zero_label)
