"""Segmentation of a map, read block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .grid import Block, Grid

#: Reads a block of a map, ``[h, w]``.
Reader = Callable[[Block], np.ndarray]


@dataclass(frozen=True)
class SegmentedMap:
    """The classes of a map's pixels.

    Attributes:
        path: Path of the map.
        grid: Pixel grid of the map.
        counts: Number of pixels of each of the K classes; pixels without data are not counted.
        labels: Reader of classes, 0 to K - 1 or :attr:`no_data`; uint8, or uint16 for more than 255
            classes.
        confidence: Reader of the score of each pixel's class, float32, 0 to 1; None if not
            requested.
    """

    path: Path
    grid: Grid
    counts: list[int]
    labels: Reader
    confidence: Reader | None = None

    @property
    def no_data(self) -> int:
        """The no-data value in :attr:`labels`."""
        return no_data_label(len(self.counts))


def no_data_label(classes: int) -> int:
    """No-data value for a number of classes: the largest value of 8 or 16 bits."""
    return 255 if classes <= 255 else 65535
