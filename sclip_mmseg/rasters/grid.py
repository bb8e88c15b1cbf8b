"""Pixel grids of maps and their georeference."""

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
        """The block's part of a map's values ``[H, W, …]``."""
        return values[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True)
class Grid:
    """The pixel grid of a map.

    Attributes:
        width, height: Size in pixels.
        crs: Coordinate reference system (of the ground control points, if any); None if unknown.
        transform: Affine transform from column and row to coordinates; None if unknown.
        gcps: Ground control points; may be empty.
    """

    width: int
    height: int
    crs: CRS | None = None
    transform: Affine | None = None
    gcps: tuple[GroundControlPoint, ...] = ()

    @property
    def whole(self) -> Block:
        """The block of all pixels."""
        return Block(0, 0, self.height, self.width)


def read_grid(file: DatasetReader) -> Grid:
    """The grid of an open dataset."""
    gcps, crs = file.gcps
    transform = None if file.transform.is_identity else file.transform
    return Grid(file.width, file.height, crs if gcps else file.crs, transform, tuple(gcps))
