"""Helpers of region generators, and the input of label corrections."""

import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor

from ..registry import REGION_GENERATORS
from ..utils.errors import InputError, nearest


class CorrectionInputs(SimpleNamespace):
    """Inputs of a label correction for an image.

    ``regions``, ``scores`` and ``sam`` exist only if the correction requests them with
    ``needs_regions``, ``needs_scores`` and ``needs_sam``.

    Attributes:
        regions: Region ids, int64 ``[H, W]``.
        scores: Class scores, float32 ``[K, H, W]``.
        file: The image as stored in its file, a ``FileImage``.
        sam: Segment Anything, a ``SamTower``.
    """

    regions: Tensor
    scores: Tensor
    file: Any
    sam: Any


def find_generator(name: str | dict) -> dict:
    """The config of a generator, given its name, ignoring case; a config is returned unchanged.

    Raises:
        InputError: If there is no generator of that name.
    """
    if isinstance(name, dict):
        return name
    known = {kind.lower(): kind for kind in REGION_GENERATORS.module_dict}
    if name.lower() not in known:
        hint = nearest(name, known)
        if os.path.isdir(name):
            own = f'model.region_masks={name}/{{stem}}.npz model.postprocess.type=RegionMajority'
            hint = f', or for your own maps --cfg-options {own}'
        raise InputError(f"'{name}' is not a region generator: use one of {', '.join(known)}{hint}")
    return dict(type=known[name.lower()])


def rank_by_area(labels: np.ndarray) -> np.ndarray:
    """Number regions by their area.

    Args:
        labels: Integers ``[H, W]``, one value per region.

    Returns:
        Ids, int32 ``[H, W]``: consecutive, from 1 for the smallest region.
    """
    _, index, areas = np.unique(labels, return_inverse=True, return_counts=True)
    ids = np.empty(len(areas), np.int32)
    ids[areas.argsort(kind='stable')] = np.arange(1, len(areas) + 1)
    return ids[index].reshape(labels.shape)


def paint_masks(masks: Sequence[np.ndarray], size: Sequence[int]) -> np.ndarray:
    """Paint overlapping masks into one map, like CorrCLIP's program.

    Args:
        masks: Boolean masks ``[H, W]``.
        size: H and W.

    Returns:
        Ids, int32 ``[H, W]``: masks are numbered from 1 and painted in order of ascending area, so
        that a large mask hides smaller ones inside it; 0 for pixels in no mask.
    """
    ids = np.zeros(tuple(size), np.int32)
    for number, mask in enumerate(sorted(masks, key=np.count_nonzero), 1):
        ids[np.asarray(mask, dtype=bool)] = number
    return ids
