"""The result for a map, read block by block."""

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
        path: The map's file.
        grid: Where its pixels lie.
        counts: Number of pixels of each class, K; those without data are in none.
        labels: Reads classes, 0 to K - 1 or :attr:`no_data`, uint8, or uint16 of more than 255.
        confidence: Reads the score of each pixel's class, float32, 0 to 1; None where it was not
            asked for.
    """

    path: Path
    grid: Grid
    counts: list[int]
    labels: Reader
    confidence: Reader | None = None

    @property
    def no_data(self) -> int:
        """The value in :attr:`labels` that stands for no data."""
        return no_data_label(len(self.counts))


def no_data_label(classes: int) -> int:
    """The label of no data beside so many classes: the largest of 8 or 16 bits."""
    return 255 if classes <= 255 else 65535
