"""Region maps: read from files or generated, resized, and used to correct labels.

A map has an integer id per pixel. The lowest id means "in no region", whatever its value.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..rasters.reading import read_pixels
from ..registry import POSTPROCESSORS, REGION_GENERATORS
from ..utils.arrays import read_arrays
from ..utils.errors import InputError
from ..utils.images import UNREADABLE
from .base import CorrectionInputs

ARRAY = 'instance_mask'
Size = tuple[int, int]  # height and width in pixels


class RegionFiles:
    """Region maps in files, found by the names of the images.

    Args:
        pattern: Path in which ``{stem}`` stands for the name of the image file without its suffix,
            and optionally ``{folder}`` for the name of its folder. An ``.npz`` file contains the
            ids as the array ``instance_mask``, an image file as its single channel.

    Raises:
        InputError: If the pattern does not contain ``{stem}``.
    """

    def __init__(self, pattern: str):
        if not isinstance(pattern, str) or '{stem}' not in pattern:
            raise InputError(
                f'model.region_masks={pattern!r} must be a path with {{stem}} in place of the '
                "image's name, such as 'region_masks/voc/{stem}.npz'"
            )
        self.pattern = pattern

    def path(self, image_path: str) -> Path:
        """Path of an image's map."""
        image = Path(image_path)
        name = self.pattern.replace('{folder}', image.parent.name).replace('{stem}', image.stem)
        return Path(name).expanduser()

    def check(self, image_paths: Sequence[str]) -> None:
        """Check that each image has its own map.

        Raises:
            InputError: If maps are missing, or two images share one.
        """
        self.check_names(image_paths)
        missing = [path for path in map(self.path, image_paths) if not path.is_file()]
        if missing:
            raise InputError(
                f'{len(missing)} of {len(image_paths)} region maps do not exist, the first is '
                f'{missing[0]}: unpack region_masks.zip of the Hugging Face dataset '
                'dk258/CorrCLIP into the folder of all datasets, generate other maps with '
                'tools/make_region_masks.py CONFIG, or set model.region_masks to your own'
            )

    def check_names(self, image_paths: Sequence[str | Path]) -> None:
        """Check that no two images share a map.

        Raises:
            InputError: If two images do.
        """
        by_map: dict[Path, Path] = {}
        for image in map(Path, image_paths):
            other = by_map.setdefault(self.path(str(image)), image)
            if other != image:
                raise InputError(
                    f'{image} and {other} would share a region map: use their folders in the '
                    'pattern, as in region_masks/{folder}/{stem}.npz'
                )

    def load(self, image_path: str, size: Size, raster: Mapping[str, Any] | None = None) -> Tensor:
        """Read the map of an image.

        Args:
            image_path: Path of the image file.
            size: Its height and width in pixels.
            raster: If the image is a map, its options of :func:`..rasters.reading.read_pixels`.

        Returns:
            int64 ``[H, W]``.

        Raises:
            InputError: If the file is missing, cannot be read, does not contain integers, or has
                another size.
        """
        path = self.path(image_path)
        if not path.is_file():
            raise InputError(f'region map {path} of {image_path} does not exist')
        return check_regions(_read(path), size, f'region map {path}')


class GeneratedRegions:
    """Region maps that are generated from the images during the run.

    Args:
        generator: Config of the generator, e.g. :class:`.felzenszwalb.Felzenszwalb`.

    Raises:
        InputError: If a value cannot be used.
    """

    def __init__(self, generator: dict):
        self.generator = REGION_GENERATORS.build(generator)

    def load(self, image_path: str, size: Size, raster: Mapping[str, Any] | None = None) -> Tensor:
        """Generate the map of an image file; arguments and result as :meth:`RegionFiles.load`."""
        return self.make(read_pixels(image_path, raster)[..., ::-1], size)

    def make(self, image: np.ndarray, size: Size) -> Tensor:
        """Generate the map of an image, BGR, uint8 ``[H, W, 3]``: int64 ``[H, W]``."""
        ids = self.generator(np.ascontiguousarray(image[..., ::-1]))
        return check_regions(ids, size, f'the map of {type(self.generator).__name__}')


def build_regions(region_masks: str | dict) -> RegionFiles | GeneratedRegions:
    """Build the source of region maps.

    Args:
        region_masks: Path pattern, see :class:`RegionFiles`; or config of a generator.
    """
    if isinstance(region_masks, dict):
        return GeneratedRegions(region_masks)
    return RegionFiles(region_masks)


def check_regions(ids: Any, size: Size, name: str) -> Tensor:
    """Check a region map and convert it to int64 ``[H, W]``.

    Raises:
        InputError: If it does not contain integers, or its size differs from the image's.
    """
    ids = np.asarray(ids)
    if not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f'{name} contains {ids.dtype}, expected integers')
    if ids.shape != tuple(size):
        raise InputError(f'{name} has shape {ids.shape}, its image {tuple(size)}')
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
    """Resize maps ``[..., H, W]`` of any dtype to ``[..., *size]`` as PyTorch's ``'nearest'``."""
    rows, columns = (_nearest(old, new, ids.device) for old, new in zip(ids.shape[-2:], size))
    return ids[..., rows[:, None], columns]


def _nearest(old: int, new: int, device: torch.device) -> Tensor:
    """Source index of each of ``new`` pixels: ``floor(i old / new)``, computed in float32."""
    index = torch.arange(old, dtype=torch.float32, device=device)
    return F.interpolate(index[None, None], new, mode='nearest')[0, 0].long()


def rank_ids(ids: Tensor) -> Tensor:
    """Replace the ids in each row ``[B, N]`` by their ranks: 0 for the lowest, without gaps."""
    ordered, order = ids.sort(1)
    ranks = F.pad(ordered.diff(dim=1).ne(0).cumsum(1), (1, 0))
    return torch.empty_like(ids).scatter_(1, order, ranks)


def majority_labels(labels: Tensor, regions: Tensor) -> Tensor:
    """Assign to all pixels of a region their most frequent label.

    Args:
        labels: Labels, int64 ``[H, W]``, not negative.
        regions: Region ids, int64 ``[H, W]``; pixels with the lowest id keep their labels.

    Returns:
        Labels, int64 ``[H, W]``. Ties are resolved to the smallest label.
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
    """CorrCLIP's map correction, see :func:`majority_labels`; works with every method."""

    needs_regions = True

    def forward(self, labels: Tensor, inputs: CorrectionInputs) -> Tensor:
        """Correct labels ``[H, W]`` by the region map of the image."""
        return majority_labels(labels, inputs.regions)
