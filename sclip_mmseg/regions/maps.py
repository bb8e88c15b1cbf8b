"""Maps of regions: read from files or made, resized, and used to correct labels.

A map has an integer id per pixel. The lowest one means "in no region", whatever its value.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..registry import POSTPROCESSORS, REGION_GENERATORS
from ..utils.arrays import read_arrays
from ..utils.errors import InputError
from ..utils.images import UNREADABLE
from .base import Decided

ARRAY = 'instance_mask'
Size = tuple[int, int]  # height and width in pixels


class RegionFiles:
    """The files of region maps, found by the names of the images.

    Args:
        pattern: Path with ``{stem}`` in place of the image file's name without suffix, and
            possibly ``{folder}`` in place of the name of its folder. An ``.npz`` file holds the ids
            as its array ``instance_mask``, an image has one channel of them.

    Raises:
        InputError: If the pattern has no ``{stem}``.
    """

    def __init__(self, pattern: str):
        if not isinstance(pattern, str) or '{stem}' not in pattern:
            raise InputError(
                f'model.region_masks={pattern!r} must be a path with {{stem}} in place of the '
                "image's name, as in 'region_masks/voc/{stem}.npz'"
            )
        self.pattern = pattern

    def path(self, image_path: str) -> Path:
        """Where the map of an image is to lie."""
        image = Path(image_path)
        name = self.pattern.replace('{folder}', image.parent.name).replace('{stem}', image.stem)
        return Path(name).expanduser()

    def check(self, image_paths: Sequence[str]) -> None:
        """Check that each image has a map of its own.

        Raises:
            InputError: If some have none, or two have the same.
        """
        self.check_names(image_paths)
        missing = [path for path in map(self.path, image_paths) if not path.is_file()]
        if missing:
            raise InputError(
                f'{len(missing)} of {len(image_paths)} region maps do not exist, the first is '
                f'{missing[0]}: unpack region_masks.zip of the Hugging Face data set '
                'dk258/CorrCLIP into the folder of all datasets, make maps of another kind by '
                'tools/make_region_masks.py CONFIG, or set model.region_masks to your own'
            )

    def check_names(self, image_paths: Sequence[str | Path]) -> None:
        """Check that no two images have the same map.

        Raises:
            InputError: If two have.
        """
        by_map: dict[Path, Path] = {}
        for image in map(Path, image_paths):
            other = by_map.setdefault(self.path(str(image)), image)
            if other != image:
                raise InputError(
                    f'{image} and {other} would have the same region map: let the pattern have '
                    'their folders, as in region_masks/{folder}/{stem}.npz'
                )

    def load(self, image_path: str, size: Size) -> Tensor:
        """Read the map of an image.

        Args:
            image_path: Path of the image file.
            size: Its height and width in pixels.

        Returns:
            int64 ``[H, W]``.

        Raises:
            InputError: If the file is missing, cannot be read, is not a map of integers, or has
                another size.
        """
        path = self.path(image_path)
        if not path.is_file():
            raise InputError(f'region map {path} of {image_path} does not exist')
        return check_regions(_read(path), size, f'region map {path}')


class GeneratedRegions:
    """Region maps made of the images as they come.

    Args:
        generator: Config of what makes them, e.g. :class:`.felzenszwalb.Felzenszwalb`.

    Raises:
        InputError: If a value cannot be used.
    """

    def __init__(self, generator: dict):
        self.generator = REGION_GENERATORS.build(generator)

    def load(self, image_path: str, size: Size) -> Tensor:
        """Make the map of an image file; arguments and result as :meth:`RegionFiles.load`."""
        return self.make(mmcv.imread(image_path), size)

    def make(self, image: np.ndarray, size: Size) -> Tensor:
        """Make the map of an image, BGR, uint8 ``[H, W, 3]``: int64 ``[H, W]``."""
        ids = self.generator(np.ascontiguousarray(image[..., ::-1]))
        return check_regions(ids, size, f'the map of {type(self.generator).__name__}')


def build_regions(region_masks: str | dict) -> RegionFiles | GeneratedRegions:
    """Build what gives the region maps of images.

    Args:
        region_masks: Pattern of files, see :class:`RegionFiles`; or config of a generator.
    """
    if isinstance(region_masks, dict):
        return GeneratedRegions(region_masks)
    return RegionFiles(region_masks)


def check_regions(ids: Any, size: Size, name: str) -> Tensor:
    """Check a region map and bring it to int64 ``[H, W]``.

    Raises:
        InputError: If it holds no integers, or is of another size than its image.
    """
    ids = np.asarray(ids)
    if not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f'{name} holds {ids.dtype}, expected integers')
    if ids.shape != tuple(size):
        raise InputError(f'{name} is {ids.shape}, its image is {tuple(size)}')
    return torch.from_numpy(ids.astype(np.int64))


def _read(path: Path) -> np.ndarray:
    if path.suffix == '.npz':
        return read_arrays(path, [ARRAY], f'region map {path}')[ARRAY]
    try:
        with Image.open(path) as image:
            return np.asarray(image)
    except UNREADABLE as error:
        raise InputError(f'region map {path} cannot be read: {error}') from error


def resize_nearest(ids: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps ``[..., H, W]`` of any dtype to ``[..., *size]`` by PyTorch's ``'nearest'``."""
    rows, columns = (_nearest(old, new, ids.device) for old, new in zip(ids.shape[-2:], size))
    return ids[..., rows[:, None], columns]


def _nearest(old: int, new: int, device: torch.device) -> Tensor:
    """Which of ``old`` pixels each of ``new`` shows: ``floor(i old / new)`` in float32."""
    index = torch.arange(old, dtype=torch.float32, device=device)
    return F.interpolate(index[None, None], new, mode='nearest')[0, 0].long()


def rank_ids(ids: Tensor) -> Tensor:
    """Number the ids of each row ``[B, N]`` by their order: 0 for the lowest, and no gaps."""
    ordered, order = ids.sort(1)
    ranks = F.pad(ordered.diff(dim=1).ne(0).cumsum(1), (1, 0))
    return torch.empty_like(ids).scatter_(1, order, ranks)


def majority_labels(labels: Tensor, regions: Tensor) -> Tensor:
    """Give all pixels of a region the most frequent of their labels.

    Args:
        labels: int64 ``[H, W]``, not negative.
        regions: Ids, int64 ``[H, W]``; pixels of the lowest one keep their labels.

    Returns:
        int64 ``[H, W]``. Of labels that are equally frequent, the smallest.
    """
    ids = rank_ids(regions.flatten()[None])[0]
    num_labels = int(labels.max()) + 1
    votes = (ids * num_labels + labels.flatten()).bincount(
        minlength=(int(ids.max()) + 1) * num_labels
    )
    best = votes.unflatten(0, (-1, num_labels)).argmax(1)
    return torch.where(ids == 0, labels.flatten(), best[ids]).unflatten(0, labels.shape)


@POSTPROCESSORS.register_module()
class RegionMajority(nn.Module):
    """CorrCLIP's map correction, see :func:`majority_labels`; it goes with every method."""

    needs_regions = True

    def forward(self, labels: Tensor, decided: Decided) -> Tensor:
        """Correct labels ``[H, W]`` by the region map of the image."""
        return majority_labels(labels, decided.regions)
