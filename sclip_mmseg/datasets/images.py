"""Checks of a dataset's images before a run, from their headers and last bytes."""

import os
import warnings
from collections.abc import Mapping
from typing import Any

import mmcv
from mmcv.transforms import LoadImageFromFile, Resize
from mmengine.dataset import BaseDataset
from mmseg.datasets.transforms import LoadAnnotations, PackSegInputs
from PIL import Image

from ..rasters.grid import Block
from ..rasters.reading import open_raster, read_size
from ..utils.errors import InputError
from ..utils.images import UNREADABLE, may_be_dark
from .loading import CheckedImageLoader, with_checked_loaders
from .parts import for_each_part, is_on_disk, steps_of

_SAMPLED = 64  # images decoded because their header does not say whether they are dark
_KEEP_SIZE = LoadImageFromFile, LoadAnnotations, PackSegInputs  # transforms
# First bytes of a file → its last bytes if it is complete; b'' if they vary.
_ENDS = {
    b'\xff\xd8': b'\xff\xd9',
    b'\x89PNG': b'IEND\xaeB`\x82',
    **dict.fromkeys((b'II*\0', b'MM\0*', b'BM', b'RIFF'), b''),
}


@for_each_part
def check_images(dataset: BaseDataset) -> None:
    """Decode images that look truncated or have an unknown format, and some that may be dark.

    Of maps, which may be large, the last row is read. An evaluation and ``sclip data check`` decode
    all images.

    Args:
        dataset: The dataset, whose files exist.

    Raises:
        InputError: If an image cannot be decoded correctly.
    """
    loader = _image_loader(dataset)
    if loader is None or not is_on_disk(dataset):
        return
    sampled = 0
    for info in map(dataset.get_data_info, range(len(dataset))):
        path = info['img_path']
        if 'map' in info:
            _read_last_row(path, info['map'])
            continue
        content = _ends_of(path)
        end = next((end for start, end in _ENDS.items() if content.startswith(start)), None)
        if end is not None and content.endswith(end):
            if (end and not may_be_dark(content)) or sampled == _SAMPLED:
                continue
            sampled += 1
        try:
            loader(dict(img_path=path))
        except InputError:
            raise
        except UNREADABLE as error:
            raise InputError(f'cannot load {path}: {error}') from error


@for_each_part
def check_sizes(dataset: BaseDataset, patch_size: int) -> None:
    """Check that resized images are not smaller than a patch on one side.

    Args:
        dataset: The dataset, whose files exist.
        patch_size: Side of a patch in pixels.

    Raises:
        InputError: If an image is smaller.
    """
    if not is_on_disk(dataset):
        return
    resizing = [step for step in steps_of(dataset) if not isinstance(step, _KEEP_SIZE)]
    if any(not (isinstance(step, Resize) and step.scale) for step in resizing):
        return  # unknown transforms may change the size in any way
    for info in map(dataset.get_data_info, range(len(dataset))):
        path = info['img_path']
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', Image.DecompressionBombWarning)
                stored = size = read_size(path, info.get('map'))
        except UNREADABLE:  # a format that only the loader can read
            continue
        for step in resizing:
            size = mmcv.rescale_size(size, step.scale) if step.keep_ratio else step.scale
        if min(size) < patch_size:
            raise InputError(
                f'{path} is {stored[0]}×{stored[1]} pixels, {size[0]}×{size[1]} after resizing, '
                f'smaller than a patch of {patch_size}×{patch_size}: leave it out of the split'
            )


def _image_loader(dataset: BaseDataset) -> CheckedImageLoader | None:
    """The transform that reads a dataset's images; None if it is not the usual one."""
    for step in steps_of(dataset):
        if isinstance(step, LoadImageFromFile):
            loader = with_checked_loaders(step, dataset.ignore_index)
            return loader if isinstance(loader, CheckedImageLoader) else None
    return None


def _read_last_row(path: str, options: Mapping[str, Any]) -> None:
    """Read the last row of a map, which a truncated file lacks."""
    options = {**options, 'stretch': (0, 1)}  # percentiles would need the whole map
    with open_raster(path, **options) as raster:
        height, width = raster.grid.height, raster.grid.width
        raster.read(Block(height - 1, 0, height, width))


def _ends_of(path: str) -> bytes:
    """The first and the last bytes of a file."""
    with open(path, 'rb') as file:
        head = file.read(64)
        file.seek(max(len(head), os.fstat(file.fileno()).st_size - 64))
        return head + file.read()
