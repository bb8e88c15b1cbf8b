"""Polygons of what is found, with the borders that neighbours share."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .grid import Block, Grid
from .ground import Ground
from .labels import write_raster
from .result import SegmentedMap

_STRIP = 256  # rows that confidences are averaged over at once


@dataclass(frozen=True)
class Polygons:
    """The connected parts of the classes, pixels that touch at a corner not being connected.

    Attributes:
        classes: Class of each, int64 ``[N]``.
        shapes: shapely's, in coordinates of the map's CRS, of pixels where it has none; object
            ``[N]``. Neighbours have the same vertices along the borders that they share.
        areas: Square metres, of pixels without a CRS, float64 ``[N]``.
        confidence: Mean score of the pixels, float64 ``[N]``; None where there are none.
    """

    classes: np.ndarray
    shapes: np.ndarray
    areas: np.ndarray
    confidence: np.ndarray | None


def find_polygons(found: SegmentedMap, simplify: float = 0, min_area: float = 0) -> Polygons:
    """Trace what is found.

    Args:
        found: On a map.
        simplify: Size, in metres, of what is smoothed away of the borders between classes; borders
            to what has no data stay as they are. 0 for the edges of pixels.
        min_area: Square metres below which polygons are left out.
            Both count in pixels where the map has no CRS.
    """
    import shapely

    ground, whole = Ground(found.grid), found.grid.whole
    classes, shapes = _trace(found)
    confidence = _mean_confidence(found, shapes)
    shapes = _match_borders(shapes)
    if simplify and len(shapes):
        middle = whole.bottom // 2
        pixel = (
            1
            if ground.crs is None
            else ground.pixel_areas(Block(middle, 0, middle + 1, whole.right)).item() ** 0.5
        )
        shapes = shapely.coverage_simplify(shapes, simplify / pixel, simplify_boundary=False)
    shapes = shapely.transform(shapes, ground.place)
    plane = shapes if ground.crs is None else shapely.transform(shapes, ground.equal_area)
    areas = shapely.area(plane)
    kept = areas >= min_area
    return Polygons(
        *(classes[kept], shapes[kept], areas[kept]),
        None if confidence is None else confidence[kept],
    )


def _trace(found: SegmentedMap) -> tuple[np.ndarray, np.ndarray]:
    """Classes and polygons, in pixels, by GDAL, which reads a file row by row."""
    import rasterio
    import shapely
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.features import shapes

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter('ignore', NotGeoreferencedWarning)
        path = Path(folder, 'labels.tif')
        pixels = Grid(found.grid.width, found.grid.height)
        write_raster(path, pixels, found.labels, found.no_data, overviews=False)
        with rasterio.open(path) as file:
            traced = [
                (int(value), shapely.geometry.shape(shape))
                for shape, value in shapes(rasterio.band(file, 1))
                if value != found.no_data
            ]
    polygons = np.empty(len(traced), object)
    polygons[:] = [shape for _, shape in traced]
    return np.array([value for value, _ in traced], np.int64), polygons


def _match_borders(shapes: np.ndarray) -> np.ndarray:
    """Give polygons along pixels the corners of their neighbours that lie on their edges."""
    import shapely

    if not len(shapes):
        return shapes
    kind, corners, (rings, parts) = shapely.to_ragged_array(shapes)
    corners = corners.astype(np.int64)
    ends = np.roll(corners, -1, 0)  # of the edge that begins there
    ends[rings[1:] - 1] = corners[rings[1:] - 1]  # where a ring is closed there is none
    side = corners.max() + 1
    first, step, between = np.zeros((3, len(corners)), np.int64)
    places = [corners]
    for axis in (0, 1):
        begin, end = (each[:, 1 - axis] * side + each[:, axis] for each in (corners, ends))
        known = np.unique(begin)
        here, there = np.searchsorted(known, begin), np.searchsorted(known, end)
        along = (corners[:, 1 - axis] == ends[:, 1 - axis]) & (here != there)
        step[along] = np.sign(there - here)[along]
        between[along] = np.abs(there - here)[along] - 1
        first[along] = here[along] + sum(map(len, places))
        found = np.divmod(known, side)
        places.append(np.stack([found[1 - axis], found[axis]], 1))
    counts = between + 1
    stops = np.cumsum(counts)
    number = np.repeat(np.arange(len(corners)), counts)
    nth = np.arange(stops[-1]) - np.repeat(stops - counts, counts)
    order = np.where(nth == 0, number, first[number] + step[number] * nth)
    matched = np.concatenate(places)[order].astype(np.float64)
    rings = np.concatenate([[0], stops])[rings]
    return shapely.from_ragged_array(kind, matched, (rings, parts))


def _mean_confidence(found: SegmentedMap, shapes: np.ndarray) -> np.ndarray | None:
    """Mean score of the pixels of each polygon, whose pixels are counted strip by strip."""
    import shapely
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from skimage.measure import label

    if found.confidence is None:
        return None
    if not len(shapes):
        return np.zeros(0)
    _, corners, (rings, parts) = shapely.to_ragged_array(shapes)
    x, y = corners.astype(np.int64).T
    side = found.grid.width + 1
    # Below the leftmost of its highest corners lies a polygon's own pixel.
    first = np.minimum.reduceat(y * side + x, rings[parts[:-1]])
    rows, columns = np.divmod(first, side)
    # Parts of strips, numbered from 1, are joined where they go on in the next strip.
    part = np.zeros(len(shapes), np.int64)
    sums: list[np.ndarray] = [np.zeros(1)]
    links: list[np.ndarray] = [np.zeros((2, 0), np.int64)]
    above, count = (np.zeros(0), np.zeros(0)), 0
    for top in range(0, found.grid.height, _STRIP):
        strip = Block(top, 0, min(top + _STRIP, found.grid.height), found.grid.width)
        classes = found.labels(strip)
        parts_of = label(classes, background=found.no_data, connectivity=1).astype(np.int64)
        amount = int(parts_of.max())
        scores = found.confidence(strip)
        sums.append(np.bincount(parts_of.ravel(), scores.ravel(), amount + 1)[1:])
        parts_of[parts_of > 0] += count
        if top:
            joined = (above[0] == classes[0]) & (parts_of[0] > 0)
            links.append(np.stack([above[1], parts_of[0]])[:, joined])
        here = (rows >= top) & (rows < strip.bottom)
        part[here] = parts_of[rows[here] - top, columns[here]]
        above, count = (classes[-1], parts_of[-1]), count + amount
    pairs = np.concatenate(links, 1)
    graph = coo_array((np.ones(pairs.shape[1]), pairs), shape=(count + 1,) * 2)
    whole = connected_components(graph, directed=False)[1]
    return np.bincount(whole, np.concatenate(sums))[whole[part]] / shapely.area(shapes)
