"""Keys by which regions are looked up in a memory bank, pooled from a map of the whole image."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..regions import resize_nearest
from ..towers import VisionTransformer
from ..towers.proxy import ProxyTower
from ..utils.errors import InputError
from ..utils.torch_types import height_width
from .pixel_features import PixelFeatures, pool_regions
from .windowed_image import Stitching, WindowedImage
from .windows import Window

Result = TypeVar('Result')


class TowerKeys:
    """Keys from a second tower's patches of the image at the size of its file.

    Args:
        proxy: The second tower.
    """

    def __init__(self, proxy: ProxyTower):
        self.proxy, self.width = proxy, proxy.tower.width

    def read(self, image: WindowedImage, encode: Callable[[], Result]) -> tuple[Result, Tensor]:
        """Encode an image, and compute the map that its keys are pooled from.

        Args:
            image: The image with its windows.
            encode: Function that runs CLIP on the windows.

        Returns:
            The result of ``encode``, and a map of the image, ``[h, w, C]``, float32.
        """
        return encode(), image.file.map_of(self.proxy)

    def pool(self, coarse: Tensor, ranks: Tensor) -> Tensor:
        """Pool the keys of regions.

        Args:
            coarse: Map from :meth:`read`.
            ranks: Region of each pixel, int64 ``[H, W]``, numbered from 0 without gaps.

        Returns:
            Keys ``[R, C]``: means over the pixels of the resized map, each normalised first.
        """
        return pool_regions(PixelFeatures(coarse, height_width(ranks)).map, ranks, unit=True)


class BlockKeys:
    """Keys from the output of one of CLIP's own blocks, computed in the same pass.

    Args:
        tower: CLIP's image tower.
        block: Number of the block, counted from 1.

    Raises:
        InputError: If ``block`` is not one of the blocks before the last.
    """

    def __init__(self, tower: VisionTransformer, block: int):
        if not 1 <= block < len(tower.blocks):
            raise InputError(
                f'the keys cannot come from block {block}: the CLIP has blocks 1 to '
                f'{len(tower.blocks) - 1} before the last, choose one of them (--block)'
            )
        self.tower, self.block, self.width = tower, block, tower.width

    def read(self, image: WindowedImage, encode: Callable[[], Result]) -> tuple[Result, Tensor]:
        """See :meth:`TowerKeys.read`."""
        tower, patch = self.tower, self.tower.patch_size
        grid = tower.grid(image.view.images)
        cells = Stitching(grid, patch, self.width, tower.device)
        windows: list[Window] = []

        def look(module: Any, args: tuple[Tensor]) -> None:
            [x] = args
            rows, columns = (side // patch for side in image.windows.size)
            if not windows or x.shape[:2] != (
                len(windows),
                tower.num_prefix_tokens + rows * columns,
            ):
                return  # a run with copies of the class token, or over the whole image
            patches = F.normalize(x[:, tower.num_prefix_tokens :].float(), dim=-1)
            cells.add(windows, patches.unflatten(1, (rows, columns)))
            windows.clear()

        image.on_batch = windows.extend
        # A block's output is the input of the next block's norm.
        handle = tower.blocks[self.block].norm1.register_forward_pre_hook(look)
        try:
            result = encode()
        finally:
            handle.remove()
        if not cells.covered:
            raise InputError(
                "the method does not run CLIP's blocks on all windows: take the keys from a "
                'second tower, --proxy'
            )
        return result, _crop(cells.mean().unflatten(0, grid), image, patch)

    def pool(self, coarse: Tensor, ranks: Tensor) -> Tensor:
        """See :meth:`TowerKeys.pool`; a pixel has the output of its patch, not interpolated."""
        count = coarse.shape[0] * coarse.shape[1]
        numbers = torch.arange(count, device=ranks.device).view(coarse.shape[:2])
        cells = resize_nearest(numbers, height_width(ranks))
        regions = int(ranks.max()) + 1
        shares = (ranks * count + cells).flatten().bincount(minlength=regions * count)
        shares = shares.view(regions, count).to(coarse)
        return shares @ coarse.flatten(0, 1) / shares.sum(1, keepdim=True)


def _crop(coarse: Tensor, image: WindowedImage, patch: int) -> Tensor:
    """Crop the padding off the cells of an image, to half a patch."""
    kept = (
        slice(round(before / patch), count - round(after / patch))
        for (before, after), count in zip(image.windows.margins, height_width(coarse[..., 0]))
    )
    rows, columns = kept
    return coarse[rows, columns]


def features_as_maps(features: Tensor, adjusted: Any = None) -> Tensor:
    """Return features ``[B, h, w, D]`` in place of scores, as ``[B, D, h, w]``, float32."""
    return torch.as_tensor(features).float().permute(0, 3, 1, 2)
