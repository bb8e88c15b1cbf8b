"""Polygons of the classes, with shared borders between neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain

import numpy as np

from ..utils.errors import InputError
from .grid import Block
from .ground import Ground
from .result import SegmentedMap

_PACKAGES = 'rasterio', 'shapely', 'pyogrio', 'pyproj'
_STRIP = 256  # number of rows that are traced at once


def check_packages() -> None:
    """Check that the packages that read and write polygons are installed.

    Raises:
        InputError: If a package is missing, with the command that installs it.
    """
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise InputError(f'polygons need {", ".join(missing)}: pip install "sclip_mmseg[maps]"')


@dataclass(frozen=True)
class Polygons:
    """Connected components of the classes; pixels that touch at a corner are not connected.

    Attributes:
        classes: Class of each component, int64 ``[N]``.
        shapes: shapely polygons in the map's CRS, or in pixels without a CRS, object ``[N]``.
            Neighbours have the same vertices along their common borders.
        areas: Areas in square metres, or in pixels without a CRS, float64 ``[N]``.
        confidence: Mean score of the pixels, float64 ``[N]``; NaN without scores.
    """

    classes: np.ndarray
    shapes: np.ndarray
    areas: np.ndarray
    confidence: np.ndarray


def find_polygons(
    found: SegmentedMap, simplify: float = 0, min_area: float = 0
) -> Iterator[Polygons]:
    """Trace the polygons of a segmented map, strip by strip.

    Args:
        found: The segmented map.
        simplify: Tolerance in metres (pixels without a CRS) for simplifying borders between
            classes, for which all polygons are kept in memory; borders to no data stay unchanged. 0
            to follow the pixel edges.
        min_area: Minimum area of a polygon in square metres (pixels without a CRS).

    Yields:
        Parts of the map's polygons.
    """
    import shapely

    ground = Ground(found.grid)
    parts: Iterator[Polygons] | list[Polygons] = _trace_map(found)
    if simplify:
        parts = [_simplify(list(parts), simplify / ground.pixel_side())]
    for part in parts:
        shapes = shapely.transform(part.shapes, ground.place)
        areas = part.areas
        if ground.crs is not None:
            areas = shapely.area(shapely.transform(shapes, ground.equal_area))
        kept = areas >= min_area
        yield Polygons(part.classes[kept], shapes[kept], areas[kept], part.confidence[kept])


def _simplify(parts: list[Polygons], tolerance: float) -> Polygons:
    """All parts in one, with simplified borders."""
    import shapely

    classes, shapes, _, confidence = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ('classes', 'shapes', 'areas', 'confidence')
    )
    if len(shapes):
        shapes = shapely.coverage_simplify(shapes, tolerance, simplify_boundary=False)
    return Polygons(classes, shapes, shapely.area(shapes), confidence)


def _trace_map(found: SegmentedMap) -> Iterator[Polygons]:
    """Polygons in pixels: those within each strip, and finally those that cross strips."""
    import shapely
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from skimage.measure import label

    height, width = found.grid.whole.size
    cut: list[tuple[np.ndarray, ...]] = []  # classes, shapes and score sums of parts cut by strips
    links: list[np.ndarray] = [np.zeros((2, 0), np.int64)]
    above, count = np.zeros((2, width), np.int64), 0
    for top in range(0, height, _STRIP):
        strip = Block(top, 0, min(top + _STRIP, height), width)
        labels = found.labels(strip)
        ids = label(labels, background=found.no_data, connectivity=1).astype(np.int32)
        amount = int(ids.max()) + 1
        classes = np.zeros(amount, np.int64)
        classes[ids.ravel()] = labels.ravel()
        sums = np.full(amount, np.nan)
        if found.confidence is not None:
            sums = np.bincount(ids.ravel(), found.confidence(strip).ravel())
        shapes = _trace(ids, amount, top)
        cut_here = np.zeros(amount, bool)
        cut_here[ids[0]] = top > 0
        cut_here[ids[-1]] |= strip.bottom < height
        cut_here[0] = False  # no data
        whole = ~cut_here
        whole[0] = False
        yield _in_pixels(classes[whole], shapes[whole], sums[whole])
        cut.append((classes[cut_here], shapes[cut_here], sums[cut_here]))
        number = np.zeros(amount, np.int64)  # number of each cut part, from 1
        number[cut_here] = np.arange(count, count + cut_here.sum()) + 1
        count += int(cut_here.sum())
        if top:
            same = (above[0] == labels[0]) & (ids[0] > 0)
            links.append(np.stack([above[1], number[ids[0]]])[:, same] - 1)
        above = np.stack([labels[-1], number[ids[-1]]])
    if not count:
        return
    classes, shapes, sums = map(np.concatenate, zip(*cut))
    pairs = np.concatenate(links, 1)
    graph = coo_array((np.ones(pairs.shape[1]), pairs), shape=(count, count))
    _, member = connected_components(graph, directed=False)
    order = np.argsort(member, kind='stable')
    _, first = np.unique(member[order], return_index=True)
    joined = [shapely.union_all(group) for group in np.split(shapes[order], first[1:])]
    _, corners, (rings, parts) = shapely.to_ragged_array(joined)
    shapes = _match_borders(corners.astype(np.int64), rings, parts)
    yield _in_pixels(classes[order[first]], shapes, np.bincount(member, sums))


def _in_pixels(classes: np.ndarray, shapes: np.ndarray, sums: np.ndarray) -> Polygons:
    import shapely

    areas = shapely.area(shapes)
    return Polygons(classes, shapes, areas, sums / areas)


def _trace(ids: np.ndarray, amount: int, top: int) -> np.ndarray:
    """Polygons of the parts of a strip by id, object ``[amount]``; None for id 0."""
    from rasterio.features import shapes

    points: list[np.ndarray] = []
    rings, parts, found = [0], [0], []
    for shape, value in shapes(ids, mask=ids > 0):
        points.append(np.array([*chain(*shape['coordinates'])], np.int64))
        rings += map(len, shape['coordinates'])
        parts.append(len(shape['coordinates']))
        found.append(int(value))
    traced = np.empty(amount, object)
    if found:
        corners = np.concatenate(points) + np.array([0, top])
        traced[found] = _match_borders(corners, np.cumsum(rings), np.cumsum(parts))
    return traced


def _match_borders(corners: np.ndarray, rings: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Build polygons along pixel edges, with their neighbours' corners inserted on their edges.

    Args:
        corners: Corners of all rings, each closed, int64 ``[M, 2]``.
        rings, parts: Offsets of the rings in ``corners`` and of the polygons in ``rings``,
            including the end of the last one.

    Returns:
        shapely polygons, object ``[N]``.
    """
    import shapely

    ends = np.roll(corners, -1, 0)  # end of the edge that begins at each corner
    ends[rings[1:] - 1] = corners[rings[1:] - 1]  # no edge after the last corner of a ring
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
    return shapely.from_ragged_array(shapely.GeometryType.POLYGON, matched, (rings, parts))
