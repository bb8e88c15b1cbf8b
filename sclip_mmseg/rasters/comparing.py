"""Comparison of the grids of two files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..utils.errors import shorten
from .grid import Grid, read_grid
from .reading import open_dataset

_NEAR = 0.01  # of a pixel


def grid_of(path: str | Path) -> Grid:
    """The grid of an image or map.

    Raises:
        InputError: If the file cannot be read.
    """
    with open_dataset(path) as file:
        return read_grid(file)


def compare_grids(label: Grid, image: Grid) -> str:
    """Describe both grids if they differ, otherwise return an empty string.

    A label without georeference fits every image.
    """
    if label.crs is None and label.transform is None and not label.gcps:
        return ''
    same = label.whole == image.whole and label.crs == image.crs
    if same and label.transform is not None and image.transform is not None:
        corners = np.array([[0, 0, 1], [0, label.height, 1], [label.width, 0, 1]]).T
        difference, transform = (
            np.array(each).reshape(3, 3)[:2]
            for each in (
                [a - b for a, b in zip(label.transform, image.transform)],
                image.transform,
            )
        )
        side = np.abs(np.linalg.det(transform[:, :2])) ** 0.5
        same = bool(np.abs(difference @ corners).max() < _NEAR * side)
    elif same:
        places = ([(p.row, p.col, p.x, p.y) for p in grid.gcps] for grid in (label, image))
        same = label.transform == image.transform and next(places) == next(places)
    return '' if same else f'{describe(label)}; {describe(image)}'


def describe(grid: Grid) -> str:
    """Describe a grid."""
    crs = shorten(grid.crs.to_string(), 40) if grid.crs else 'no CRS'
    place = ''
    if grid.gcps:
        place = f', {len(grid.gcps)} ground control points'
    elif grid.transform is not None:
        a, b, c, d, e, f, *_ = grid.transform
        rotated = f' (rotated by {b:g}, {d:g})' if b or d else ''
        place = f', pixels of {a:g}, {e:g}{rotated}, origin {c:.10g}, {f:.10g}'
    return f'{crs}, {grid.width}×{grid.height} pixels{place}'
