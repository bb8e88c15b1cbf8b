"""Where the pixels of a map lie on Earth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from affine import Affine
    from rasterio.control import GroundControlPoint
    from rasterio.crs import CRS
    from rasterio.io import DatasetReader


class Block(NamedTuple):
    """Pixel rows ``top:bottom`` and columns ``left:right`` of a map."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.bottom - self.top, self.right - self.left

    def cut(self, values: np.ndarray) -> np.ndarray:
        """The part of a map's values, ``[H, W, …]``, that it holds."""
        return values[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True)
class Grid:
    """The pixels of a map.

    Attributes:
        width, height: In pixels.
        crs: Coordinate reference system, of the ground control points where there are some; None
            for none.
        transform: From column and row to coordinates; None for none.
        gcps: Ground control points; empty for none.
    """

    width: int
    height: int
    crs: CRS | None = None
    transform: Affine | None = None
    gcps: tuple[GroundControlPoint, ...] = ()

    @property
    def whole(self) -> Block:
        """All pixels."""
        return Block(0, 0, self.height, self.width)


def read_grid(file: DatasetReader) -> Grid:
    """The grid of an open dataset."""
    gcps, crs = file.gcps
    transform = None if file.transform.is_identity else file.transform
    return Grid(file.width, file.height, crs if gcps else file.crs, transform, tuple(gcps))
