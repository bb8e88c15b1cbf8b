"""Label maps with other ids."""

import io
from typing import Sequence

import numpy as np
from PIL import Image

from ...utils.errors import InputError
from .archives import Entry


def map_ids(source: Entry, table: np.ndarray) -> np.ndarray:
    """Read a label map and replace its ids.

    Args:
        source: An image file of one byte per pixel.
        table: New id of each old one, uint8 ``[256]``.

    Raises:
        InputError: If the file is no label map.
    """
    label = np.array(Image.open(io.BytesIO(source.read())))
    if label.ndim != 2 or label.dtype != np.uint8:
        raise InputError(f'{source} is no label map of one byte per pixel: {label.shape}')
    return table[label]


def id_table(ids: Sequence[int], first: int = 0, other: int = 255) -> np.ndarray:
    """Table that numbers given ids in their order.

    Args:
        ids: Ids, 0 to 255.
        first: New id of the first one.
        other: New id of all that are not given.

    Returns:
        uint8 ``[256]``.
    """
    table = np.full(256, other, dtype=np.uint8)
    table[list(ids)] = np.arange(first, first + len(ids))
    return table
