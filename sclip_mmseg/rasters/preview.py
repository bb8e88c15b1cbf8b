"""Reduced maps in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .grid import Block
from .labels import blocks_of

if TYPE_CHECKING:
    from .reading import Raster
    from .result import SegmentedMap


class HeldImage:
    """An image in memory with the interface of :class:`.reading.Raster`.

    Args:
        image: RGB image, uint8 ``[H, W, 3]``.
    """

    def __init__(self, image: np.ndarray):
        self.image = image
        self.tags: dict[str, str] = {}

    def read(
        self, block: Block | None = None, size: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read a part, see :meth:`.reading.Raster.read`; all pixels are valid."""
        image = self.image if block is None else block.cut(self.image)
        rows, columns = (_nearest(n, of) for n, of in zip(size or image.shape[:2], image.shape[:2]))
        image = image[rows][:, columns]
        return image, np.ones(image.shape[:2], bool)


def _nearest(count: int, of: int) -> np.ndarray:
    """Source pixels with the nearest centres, as in GDAL's reduction."""
    return ((np.arange(count) + 0.5) * of / count).astype(int)


def read_reduced(
    raster: Raster | HeldImage, found: SegmentedMap, longest: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read a map and its classes, reduced by nearest neighbour if it is larger than ``longest``.

    Args:
        raster: The map.
        found: Its segmentation.
        longest: Maximum length of the longer side in pixels; None for the full size.

    Returns:
        RGB image, uint8 ``[h, w, 3]``, and classes, int64 ``[h, w]``.
    """
    full = found.grid.whole.size
    factor = max(full) / longest if longest and longest < max(full) else 1
    size = max(1, round(full[0] / factor)), max(1, round(full[1] / factor))
    image, _ = raster.read(size=size)
    rows, columns = (_nearest(n, of) for n, of in zip(size, full))
    labels = np.empty(size, np.int64)
    for block in blocks_of(found.grid):
        down, across = (
            np.flatnonzero((places >= start) & (places < end))
            for places, start, end in (
                (rows, block.top, block.bottom),
                (columns, block.left, block.right),
            )
        )
        if len(down) and len(across):
            part = found.labels(block)
            labels[np.ix_(down, across)] = part[
                np.ix_(rows[down] - block.top, columns[across] - block.left)
            ]
    return image, labels
