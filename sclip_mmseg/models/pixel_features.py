"""Features of a whole image at pixel resolution, computed where they are read."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..towers import Grid
from .axes import AxisWeights, WindowAxis, axis_weights
from .fusion import FusedMap, resize_map
from .windows import Margins, Size, Window

_TILE = 64  # side, in pixels, of a tile that is pooled at a time


class PixelFeatures:
    """A coarse feature map resized bilinearly to the image's pixels, and normalised per pixel.

    Args:
        coarse: Feature map ``[h, w, C]``, float32.
        size: Height and width of the image in pixels.
    """

    def __init__(self, coarse: Tensor, size: Size):
        self.map = resize_map(coarse, size)
        self.coarse = coarse

    def cells(self, window: Window, margins: Margins, grid: Grid) -> Tensor:
        """Resize the pixels of a window to a grid, bilinearly without antialias.

        Args:
            window: Box of the window in the padded image.
            margins: Padding of the image; the border is repeated there.
            grid: Rows and columns of the result.

        Returns:
            Features ``[rows, columns, C]``.
        """
        spans = (window.top, window.bottom), (window.left, window.right)
        sides = []
        for axis, (start, end), (before, _), count in zip(
            (self.map.rows, self.map.columns), spans, margins, grid
        ):
            assert isinstance(axis, AxisWeights)
            own = WindowAxis(end - start, end - start, end - start, end - start)
            fine = axis_weights(own, count, False, self.coarse.device).weights
            seen = fine.any(0)  # the pixels that some cell depends on
            pixels = torch.arange(start - before, end - before, device=fine.device)[seen]
            pixels = pixels.clamp(0, len(axis.weights) - 1)
            first, last = (min(max(p - before, 0), len(axis.first) - 1) for p in (start, end - 1))
            coarse = slice(axis.first[first], axis.last[last])
            sides.append((axis.weights[pixels, coarse], fine[:, seen], coarse))
        (rows, down, top), (columns, across, left) = sides
        wide = columns @ self.coarse[top, left]  # [h, w', C]
        pixels = (rows @ wide.flatten(1)).unflatten(1, wide.shape[1:])
        cells = across @ F.normalize(pixels, dim=-1)
        return (down @ cells.flatten(1)).unflatten(1, cells.shape[1:])


def pool_regions(fused: FusedMap, ranks: Tensor, unit: bool = False) -> Tensor:
    """Compute the mean values of regions.

    Args:
        fused: Map of C values per pixel.
        ranks: Region of each pixel, int64 ``[H, W]``, numbered from 0 without gaps.
        unit: Whether each pixel's values are first normalised to unit length.

    Returns:
        Means, float32 ``[R, C]``.
    """
    areas = ranks.flatten().bincount()
    total = torch.zeros(len(areas), fused.cells.shape[-1], device=ranks.device)
    for rows, columns, tile in fused.cut(_TILE, _TILE):
        values = tile.flatten(0, 1)
        values = F.normalize(values, dim=-1) if unit else values
        present, local = ranks[rows, columns].unique(return_inverse=True)
        members = F.one_hot(local.flatten(), len(present)).to(values)
        total[present] += members.T @ values
    return total / areas[:, None]
