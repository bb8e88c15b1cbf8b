"""Region maps as files: what ``tools/make_region_masks.py`` does."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ..regions import ARRAY, RegionFiles
from ..utils.arrays import pack_arrays
from ..utils.errors import InputError
from ..utils.files import make_folder, write_atomically
from ..utils.images import UNREADABLE
from ..utils.processes import map_in_processes
from .media import read_picture

Generator = Callable[[np.ndarray], np.ndarray]


def make_region_maps(
    images: Sequence[Path], pattern: str, generator: Generator, nproc: int = 1
) -> int:
    """Write the region maps that are not there, or that cannot be read.

    A map appears by an atomic rename, so that any number of interrupted runs leave whole ones only.

    Args:
        images: Pictures.
        pattern: Where maps shall lie, see :class:`..regions.RegionFiles`; ends in ``.npz``.
        generator: See :mod:`..regions`.
        nproc: Number of processes.

    Returns:
        Number of maps made.

    Raises:
        InputError: If two pictures would have the same map, or a folder cannot be written to; or,
            after all others are made, if pictures cannot be read.
    """
    files = RegionFiles(pattern)
    if not pattern.endswith('.npz'):
        raise InputError(f'region maps are written as .npz files, not as {pattern}')
    files.check_names(images)
    for folder in {files.path(str(image)).parent for image in images}:
        make_folder(folder, 'name another folder by --out')
    make = partial(_make, files, generator)
    results = map_in_processes(make, images, nproc, desc='region maps', unit='picture')
    if errors := [result for result in results if isinstance(result, str)]:
        raise InputError(f'{len(errors)} of {len(images)} without region map: {"; ".join(errors)}')
    return sum(results)


def _make(files: RegionFiles, generator: Generator, image: Path) -> bool | str:
    """Make a picture's map; tell whether there was none, or what is wrong with the picture."""
    target = files.path(str(image))
    if target.is_file() and _is_whole(files, image):
        return False
    try:
        ids = generator(read_picture(image)[..., ::-1].copy())
    except InputError as error:
        return str(error)
    write_atomically(target, pack_arrays({ARRAY: ids}))
    return True


def _is_whole(files: RegionFiles, image: Path) -> bool:
    size = _size(image)
    for shape in (size, size and size[::-1]):  # turned upright by its EXIF data, or not
        try:
            files.load(str(image), shape or ())
            return True
        except InputError:
            continue
    return False


def _size(path: Path) -> tuple | None:
    """Height and width of a picture as it lies in the file; None where it cannot be read."""
    try:
        with Image.open(path) as image:
            return image.size[::-1]
    except UNREADABLE:
        return None
