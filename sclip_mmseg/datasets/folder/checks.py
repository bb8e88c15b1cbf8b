"""Checks of labelled images that report all problems at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...rasters.comparing import compare_grids, grid_of
from ...rasters.reading import open_raster
from ...utils.errors import InputError, one_line
from ...utils.images import UNREADABLE, most_pixels, orientation_of
from ...utils.processes import map_in_processes
from ..loading import CheckedImageLoader
from .color_table import Color
from .dataset import name_unknown
from .pairing import LABELS
from .readers import UNKNOWN, ColoredLabelError, LabelReader

_CHUNK = 16


@dataclass
class Inspection:
    """Findings in labelled images.

    Attributes:
        problems: A sentence per image without label, label without image, unreadable file,
            different size, or label with values outside the classes.
        pixels: Number of pixels of each class, int64 ``[K]``.
        ignored: Number of ignored pixels.
    """

    problems: list[str]
    pixels: np.ndarray
    ignored: int


@dataclass
class _Pair:
    problems: list[str]
    pixels: Counter = field(default_factory=Counter)
    colors: Sequence[Color] = ()


def find_problems(dataset: Any, processes: int = 1, desc: str = 'labels') -> Inspection:
    """Read all labels, and the sizes of all images.

    Args:
        dataset: A loaded ``FolderDataset``, or another dataset with a ``reader``.
        processes: Number of processes that share the work.
        desc: Description in the progress bar.
    """
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    inspect = partial(_inspect, dataset.reader)
    # The bar is removed at the end, and not shown without a terminal.
    bar: dict[str, Any] = dict(desc=desc, unit='image', leave=False, disable=None)
    found: list[_Pair] = map_in_processes(inspect, infos, processes, _CHUNK, **bar)
    total: Counter = sum((pair.pixels for pair in found), Counter())
    count = len(dataset.metainfo['classes'])
    pixels = np.array([total[index] for index in range(count)], np.int64)
    problems = [*dataset.problems, *(each for pair in found for each in pair.problems)]
    colored = [info['seg_map_path'] for info, pair in zip(infos, found) if pair.colors]
    if colored:  # one table is missing, so one problem is enough
        colors = dict.fromkeys(chain(*(pair.colors for pair in found)))
        others = f' and {len(colored) - 1} more' if colored[1:] else ''
        problems.append(str(ColoredLabelError(f'{colored[0]}{others}', [*colors])))
    if not problems and not pixels.any():
        problems = [f'no pixel of {len(infos)} labels has a class: all are ignored']
    return Inspection(problems, pixels, total[dataset.ignore_index])


def check_problems(problems: Sequence[str], remedy: str) -> None:
    """Reject a dataset with problems.

    Args:
        problems: A sentence per problem.
        remedy: Advice if there are several.

    Raises:
        InputError: If there are problems.
    """
    if problems:
        more = f' (and {len(problems) - 1} more: {remedy})' if problems[1:] else ''
        raise InputError(f'{problems[0]}{more}')


def _inspect(reader: LabelReader, info: Mapping[str, Any]) -> _Pair:
    """Read a label, and the size of its image."""
    problems = []
    try:
        size = _image_size(info)
    except InputError as error:
        size, problems = None, [one_line(error)]
    try:
        reading = reader.read(info)
    except ColoredLabelError as error:
        return _Pair(problems, colors=error.colors)
    except InputError as error:
        return _Pair([*problems, one_line(error)])
    if 'map' in info and (differing := _compare_places(info)):
        return _Pair([*problems, differing])
    height, width = reading.classes.shape
    if size not in (None, (width, height)):
        problems.append(
            f'label {info["seg_map_path"]} is {width}×{height} pixels, its image '
            f'{info["img_path"]} is {size[0]}×{size[1]}'
        )
    if reading.unknown:
        problems.append(name_unknown(info, reading.unknown))
    classes, counts = np.unique(reading.classes[reading.classes != UNKNOWN], return_counts=True)
    return _Pair(problems, Counter(dict(zip(classes.tolist(), counts.tolist()))))


def _image_size(info: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height of an image after loading.

    Raises:
        InputError: If it cannot be read, or is rotated on reading but its label is not.
    """
    path = info['img_path']
    if 'map' in info:
        with open_raster(path, **info['map']) as raster:
            size = raster.grid.width, raster.grid.height
        if size[0] * size[1] > most_pixels():
            raise _too_large(path)
        return size
    try:
        with open(path, 'rb') as file:
            turned = orientation_of(file.read()) > 1
        if turned:  # the loader checks the orientation
            return CheckedImageLoader()(dict(info))['img_shape'][::-1]
        with Image.open(path) as image:
            return image.size
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except UNREADABLE as error:
        raise InputError(f'image {path} cannot be read: {error}') from error


def _too_large(path: str) -> InputError:
    limit = most_pixels() // 10**6
    return InputError(
        f'image {path} has more than {limit} million pixels: cut it into parts, and its labels too'
    )


def _compare_places(info: Mapping[str, Any]) -> str:
    """Describe how the grids of a label raster and its map differ; empty if they do not."""
    label, image = info['seg_map_path'], info['img_path']
    if Path(label).suffix.lower() not in LABELS:
        return ''
    grids = compare_grids(grid_of(label), grid_of(image))
    return grids and f'label {label} lies on another grid than its image {image}: {grids}'
