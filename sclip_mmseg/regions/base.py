"""The base of region generators, and the input of label corrections."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor

from ..registry import REGION_GENERATORS
from ..utils.errors import InputError, nearest


class Decided(SimpleNamespace):
    """An image whose labels are to be corrected.

    It has what the correction says it needs by ``needs_regions``, ``needs_scores``, ``needs_sam``.

    Attributes:
        regions: Ids of its regions, int64 ``[H, W]``.
        scores: Class scores, float32 ``[K, H, W]``.
        file: The image as in its file, a ``FileImage``.
        sam: Segment Anything, a ``SamTower``.
    """

    regions: Tensor
    scores: Tensor
    file: Any
    sam: Any


def find_generator(name: str | dict) -> dict:
    """The config of a generator that is called by its name, in letters of any case.

    Raises:
        InputError: If there is none of that name.
    """
    if isinstance(name, dict):
        return name
    known = {kind.lower(): kind for kind in REGION_GENERATORS.module_dict}
    if name.lower() not in known:
        hint = nearest(name, known)
        raise InputError(f"'{name}' makes no regions: use one of {', '.join(known)}{hint}")
    return dict(type=known[name.lower()])


def rank_by_area(labels: np.ndarray) -> np.ndarray:
    """Number regions by their area.

    Args:
        labels: Integers ``[H, W]``, a value per region.

    Returns:
        int32 ``[H, W]``: 1 for the smallest region, and so on without gaps.
    """
    _, index, areas = np.unique(labels, return_inverse=True, return_counts=True)
    ids = np.empty(len(areas), np.int32)
    ids[areas.argsort(kind='stable')] = np.arange(1, len(areas) + 1)
    return ids[index].reshape(labels.shape)


def paint_masks(masks: Sequence[np.ndarray], size: Sequence[int]) -> np.ndarray:
    """Paint overlapping masks into one map, as CorrCLIP's program does.

    Args:
        masks: Booleans ``[H, W]`` each.
        size: H and W.

    Returns:
        int32 ``[H, W]``: masks in order of ascending area are 1, 2 and so on, each painted over
        what is there, so that a large one hides the small ones inside it; 0 where there is none.
    """
    ids = np.zeros(tuple(size), np.int32)
    for number, mask in enumerate(sorted(masks, key=np.count_nonzero), 1):
        ids[np.asarray(mask, dtype=bool)] = number
    return ids
