"""Coordinates and areas on the ground of what is found in pixels."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .grid import Block, Grid
from .labels import blocks_of
from .result import SegmentedMap

if TYPE_CHECKING:
    from rasterio.transform import GCPTransformer

#: Methods of projections whose scale is correct at one latitude only.
_MERCATOR = 'Mercator', 'Popular Visualisation Pseudo Mercator'


class Ground:
    """Conversion from the pixels of a map to coordinates and areas.

    Args:
        grid: Grid of the map.

    Attributes:
        crs: Coordinate reference system; None if the map has no CRS or no usable georeference, for
            example with too few or collinear ground control points. Points then stay in pixels.
    """

    def __init__(self, grid: Grid):
        self.grid = grid
        self.crs = grid.crs if is_placed(grid) else None

    def place(self, points: np.ndarray) -> np.ndarray:
        """Convert pixels to the CRS, by the transform or the polynomial that GDAL fits to GCPs.

        Args:
            points: x and y in pixels, ``[N, 2]``.

        Returns:
            Coordinates, float64 ``[N, 2]``, easting or longitude first; without a CRS, the points
            themselves.
        """
        points = np.asarray(points, np.float64)
        if self.crs is None:
            return points
        if self.grid.gcps:
            with _fit(self.grid) as fitted:
                return np.stack(fitted.xy(*points.T[::-1], offset='ul'), 1)
        assert self.grid.transform is not None
        a, b, c, d, e, f, *_ = self.grid.transform
        return points @ np.array([[a, d], [b, e]]) + (c, f)

    def pixels(self, coordinates: np.ndarray) -> np.ndarray:
        """Convert coordinates to pixels ``[N, 2]`` by ground control points, like GDAL."""
        with _fit(self.grid) as fitted:
            rows, columns = fitted.rowcol(*coordinates.T, op=np.positive)
        return np.stack([columns, rows], 1)

    @cached_property
    def _projected(self) -> Any:
        """The CRS for pyproj, and whether areas in its plane are true (up to the map scale)."""
        from pyproj import CRS

        crs = CRS.from_user_input(self.crs)
        crs = crs.sub_crs_list[0] if crs.is_compound else crs  # without heights
        operation = crs.coordinate_operation
        stretched = operation is not None and operation.method_name.startswith(_MERCATOR)
        return crs, not (crs.is_geographic or stretched)

    @property
    def has_degrees(self) -> bool:
        """Whether coordinates can be converted to degrees: not without a CRS, or in a local one."""
        return self.crs is not None and self._projected[0].geodetic_crs is not None

    def equal_area(self, coordinates: np.ndarray) -> np.ndarray:
        """Convert coordinates to a plane in which areas are square metres.

        For a projected CRS this is its own plane. For a CRS in degrees, and for Mercator
        projections, which are stretched, it is the cylindrical equal-area projection of the
        ellipsoid: areas are those on the ellipsoid, with edges along meridians and parallels.

        Args:
            coordinates: Coordinates in the CRS, ``[N, 2]``.

        Returns:
            Coordinates in metres, float64 ``[N, 2]``.
        """
        from pyproj import Proj, Transformer

        crs, is_plane = self._projected
        if is_plane:
            return coordinates * crs.axis_info[0].unit_conversion_factor
        if crs.is_projected:
            to_degrees = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
            coordinates = np.stack(to_degrees.transform(*coordinates.T), 1)
        axes = dict(a=crs.ellipsoid.semi_major_metre, b=crs.ellipsoid.semi_minor_metre)
        # A map may cross the antimeridian, or extend beyond a pole, where the area is 0.
        flat = Proj(proj='cea', over=True, **axes)
        return np.stack(flat(coordinates[:, 0], coordinates[:, 1].clip(-90, 90)), 1)

    def pixel_areas(self, block: Block) -> np.ndarray:
        """Square metres of a pixel in each row of a block, ``[h]``, in the middle column."""
        rows = np.arange(block.top, block.bottom + 1)
        middle = (block.left + block.right) // 2
        left, right = (
            self.equal_area(self.place(np.stack(np.broadcast_arrays(x, rows), 1)))
            for x in (middle, middle + 1)
        )
        (x1, y1), (x2, y2) = (right[1:] - left[:-1]).T, (left[1:] - right[:-1]).T  # diagonals
        return np.abs(x1 * y2 - y1 * x2) / 2

    def pixel_side(self) -> float:
        """Side in metres of a square with the area of a pixel in the middle row; 1 without CRS."""
        if self.crs is None:
            return 1
        middle = self.grid.height // 2
        row = Block(middle, 0, middle + 1, self.grid.width)
        return self.pixel_areas(row).item() ** 0.5

    def class_areas(self, found: SegmentedMap) -> list[float] | None:
        """Area of each of K classes in square metres; None if the map has no CRS."""
        if self.crs is None:
            return None
        if self._projected[1] and not self.grid.gcps:
            return (np.array(found.counts) * self.pixel_areas(Block(0, 0, 1, 1))).tolist()
        count = len(found.counts)
        areas = np.zeros(count)
        for block in blocks_of(self.grid):
            labels = np.minimum(found.labels(block), count).astype(np.int64)
            if (labels < count).any():
                labels += (count + 1) * np.arange(len(labels))[:, None]
                pixels = np.bincount(labels.ravel(), minlength=len(labels) * (count + 1))
                areas += self.pixel_areas(block) @ pixels.reshape(-1, count + 1)[:, :-1]
        return areas.tolist()


def is_placed(grid: Grid) -> bool:
    """Whether pixels have coordinates: by a transform, or by usable ground control points."""
    if not grid.gcps:
        return grid.transform is not None
    from rasterio import Env
    from rasterio._err import CPLE_BaseError

    try:
        with Env(), _fit(grid):  # without Env, GDAL prints its errors
            return True
    except CPLE_BaseError:
        return False


def _fit(grid: Grid) -> GCPTransformer:
    from rasterio.transform import GCPTransformer

    return GCPTransformer(grid.gcps)
