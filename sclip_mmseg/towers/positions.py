"""Positions of patches: resampling of position embeddings, and rotary positions."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils.cache import cached_tensors
from .tokens import Grid


class Resampling(NamedTuple):
    """How a position embedding is resampled to another patch grid.

    Attributes:
        offset: Offset in DINO's scale factor ``(n + offset) / √N``, applied if the number of
            patches differs; None to resample to the exact size if the grid differs.
        antialias: Whether to low-pass filter when the grid shrinks.
        mode: ``'bicubic'`` or ``'bilinear'``.
        crop: Whether to resample to a square of the longer side and crop its upper left part
            (RADIO).
    """

    offset: float | None = 0.1
    antialias: bool = False
    mode: str = 'bicubic'
    crop: bool = False


def resample_positions(
    positions: Tensor, grid: Grid, resampling: Resampling, prefix: int = 1
) -> Tensor:
    """Resample a position embedding to a patch grid.

    Args:
        positions: Position embedding ``[prefix + N, D]``, where N is a square number.
        grid: Patch rows and columns of the result.
        resampling: Resampling rule.
        prefix: Number of leading positions that are not of patches, such as the class token's.

    Returns:
        ``[prefix + rows * columns, D]``.
    """
    patches = resample_patches(positions[prefix:], grid, resampling)
    return torch.cat([positions[:prefix], patches])


def resample_patches(positions: Tensor, grid: Grid, resampling: Resampling) -> Tensor:
    """Resample a position embedding ``[N, D]`` of patches only, see :func:`resample_positions`."""
    rows, columns = grid
    side = math.isqrt(len(positions))
    offset = resampling.offset
    if grid == (side, side) or (offset is not None and rows * columns == len(positions)):
        return positions
    size = (max(grid), max(grid)) if resampling.crop else grid
    patches = F.interpolate(
        positions.unflatten(0, (side, side)).permute(2, 0, 1)[None],
        size=size if offset is None else None,
        scale_factor=None if offset is None else [(n + offset) / side for n in grid],
        mode=resampling.mode,
        align_corners=False,
        antialias=resampling.antialias,
    )
    return patches[0, :, :rows, :columns].flatten(1).T


class Rotary(NamedTuple):
    """How queries and keys of patches are rotated by their position; other tokens are not.

    Half of a head's channels are rotated by the row, half by the column: each pair of channels by
    the angle ``position / period``.

    Attributes:
        base: Largest period; the periods fall geometrically to 1.
        relative: Whether to follow DINOv3: the position of a patch is its centre, from ``-2π`` to
            ``2π`` over the image; channels are paired half a head apart; rows come first. False
            for PE: patches are counted from 1, adjacent channels are paired, and columns come
            first.
        periods: The checkpoint's own periods, a quarter as many as a head has channels.
    """

    base: float
    relative: bool = True
    periods: tuple[float, ...] | None = None


class Rope(NamedTuple):
    """Rotary position embedding: the rotation of each token.

    Attributes:
        cos, sin: Cosines and sines of the angles, float32 ``[P + N, d]``.
        neighbours: Whether adjacent channels are paired, rather than channels half a head apart.
    """

    cos: Tensor
    sin: Tensor
    neighbours: bool

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate queries or keys ``[..., P + N, d]``."""
        if self.neighbours:
            first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
            partners = torch.stack([-second, first], -1).flatten(-2)
        else:
            first, second = x.chunk(2, -1)
            partners = torch.cat([-second, first], -1)
        return (x * self.cos + partners * self.sin).to(x.dtype)


def make_rope(rotary: Rotary, grid: Grid, prefix: int, width: int, device: torch.device) -> Rope:
    """The rotary position embedding of a grid.

    Args:
        rotary: The rule.
        grid: Patch rows and columns.
        prefix: Number of prefix tokens, which are not rotated.
        width: Channel width of a head.
        device: Device of the result.
    """
    cos, sin = _cos_and_sin(rotary, grid, prefix, width, device)
    return Rope(cos, sin, not rotary.relative)


@cached_tensors(max_bytes=1 << 24)
def _cos_and_sin(
    rotary: Rotary, grid: Grid, prefix: int, width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """See :func:`make_rope`; computed on the CPU to be identical on all devices."""
    count = width // 4
    exponents = torch.arange(count, dtype=torch.float32) / count
    periods = rotary.base**exponents if rotary.periods is None else torch.tensor(rotary.periods)

    def angles(side: int) -> Tensor:
        places = torch.arange(side, dtype=torch.float32)
        if rotary.relative:
            places = 2 * math.pi * (2 * (places + 0.5) / side - 1)
        else:
            places = places + 1
        return places[:, None] / periods

    rows, columns = grid
    by_row = angles(rows)[:, None].expand(-1, columns, -1).flatten(0, 1)
    by_column = angles(columns).repeat(rows, 1)
    if rotary.relative:
        both = torch.cat([by_row, by_column], -1).repeat(1, 2)
    else:
        both = torch.cat([by_column, by_row], -1).repeat_interleave(2, -1)
    both = F.pad(both, (0, 0, prefix, 0))
    return both.cos().to(device), both.sin().to(device)
