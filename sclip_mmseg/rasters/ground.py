"""Places and areas on Earth of what is found in pixels."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .grid import Block, Grid
from .labels import blocks_of
from .result import SegmentedMap

if TYPE_CHECKING:
    from rasterio.transform import GCPTransformer

#: Projections whose scale is right at one latitude alone, by the names of their methods.
_MERCATOR = 'Mercator', 'Popular Visualisation Pseudo Mercator'


class Ground:
    """Where on Earth the pixels of a map lie.

    Args:
        grid: Grid of the map.

    Attributes:
        crs: Coordinate reference system; None where the map has none, or no place in it (also by
            ground control points that are too few, or on one line), so that points stay in pixels.
    """

    def __init__(self, grid: Grid):
        self.grid = grid
        self.crs = grid.crs if is_placed(grid) else None

    def place(self, points: np.ndarray) -> np.ndarray:
        """Bring points to the CRS: by the transform, or the polynomial that GDAL fits to GCPs.

        Args:
            points: x and y in pixels, ``[N, 2]``.

        Returns:
            float64 ``[N, 2]``, easting or longitude first; the points themselves without a CRS.
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
        """Bring coordinates to pixels by ground control points, ``[N, 2]``, as GDAL does."""
        with _fit(self.grid) as fitted:
            rows, columns = fitted.rowcol(*coordinates.T, op=np.positive)
        return np.stack([columns, rows], 1)

    @cached_property
    def _projected(self) -> Any:
        """The CRS for pyproj, and whether its plane is that of a map of true areas, nearly."""
        from pyproj import CRS

        crs = CRS.from_user_input(self.crs)
        crs = crs.sub_crs_list[0] if crs.is_compound else crs  # without heights
        operation = crs.coordinate_operation
        stretched = operation is not None and operation.method_name.startswith(_MERCATOR)
        return crs, not (crs.is_geographic or stretched)

    @property
    def has_degrees(self) -> bool:
        """Whether coordinates can be brought to degrees, not so without a CRS or in a local one."""
        return self.crs is not None and self._projected[0].geodetic_crs is not None

    def equal_area(self, coordinates: np.ndarray) -> np.ndarray:
        """Bring coordinates to a plane in which areas are square metres.

        Of a projection it is its own plane. Where the CRS is in degrees, and of Mercator's, whose
        plane is stretched, it is the cylindrical equal-area projection of its ellipsoid: areas are
        those on the ellipsoid, with edges along meridians and parallels.

        Args:
            coordinates: Coordinates of the CRS, ``[N, 2]``.

        Returns:
            float64 ``[N, 2]``.
        """
        from pyproj import Proj, Transformer

        crs, is_plane = self._projected
        if is_plane:
            return coordinates * crs.axis_info[0].unit_conversion_factor
        if crs.is_projected:
            to_degrees = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
            coordinates = np.stack(to_degrees.transform(*coordinates.T), 1)
        axes = dict(a=crs.ellipsoid.semi_major_metre, b=crs.ellipsoid.semi_minor_metre)
        # A map may cross the antimeridian, and reach beyond a pole, where there is no area.
        flat = Proj(proj='cea', over=True, **axes)
        return np.stack(flat(coordinates[:, 0], coordinates[:, 1].clip(-90, 90)), 1)

    def pixel_areas(self, block: Block) -> np.ndarray:
        """Square metres of a pixel of each row of a block, ``[h]``: of its middle column."""
        rows = np.arange(block.top, block.bottom + 1)
        middle = (block.left + block.right) // 2
        left, right = (
            self.equal_area(self.place(np.stack(np.broadcast_arrays(x, rows), 1)))
            for x in (middle, middle + 1)
        )
        (x1, y1), (x2, y2) = (right[1:] - left[:-1]).T, (left[1:] - right[:-1]).T  # diagonals
        return np.abs(x1 * y2 - y1 * x2) / 2

    def pixel_side(self) -> float:
        """Metres of the side of a square as large as a pixel of the middle row; 1 without CRS."""
        if self.crs is None:
            return 1
        middle = self.grid.height // 2
        row = Block(middle, 0, middle + 1, self.grid.width)
        return self.pixel_areas(row).item() ** 0.5

    def class_areas(self, found: SegmentedMap) -> list[float] | None:
        """Square metres of each class, K; None where the map has no CRS."""
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
    """Whether pixels have coordinates: by a transform, or points that a polynomial fits to."""
    if not grid.gcps:
        return grid.transform is not None
    from rasterio import Env
    from rasterio._err import CPLE_BaseError

    try:
        with Env(), _fit(grid):  # without which GDAL prints its errors
            return True
    except CPLE_BaseError:
        return False


def _fit(grid: Grid) -> GCPTransformer:
    from rasterio.transform import GCPTransformer

    return GCPTransformer(grid.gcps)
