"""Where patches are: position embeddings fitted to other grids, and rotary positions."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils.cache import cached_tensors
from .tokens import Grid


class Resampling(NamedTuple):
    """How a position embedding is fitted to another patch grid.

    Attributes:
        offset: DINO's scale factor ``(n + offset) / √N``, wherever the number of patches differs;
            None to resample to the exact size, wherever the grid differs.
        antialias: Whether to low-pass where the grid shrinks.
        mode: ``'bicubic'`` or ``'bilinear'``.
        crop: Whether to resample to a square of the longer side, of which the upper left part is
            used (RADIO).
    """

    offset: float | None = 0.1
    antialias: bool = False
    mode: str = 'bicubic'
    crop: bool = False


def resample_positions(
    positions: Tensor, grid: Grid, resampling: Resampling, prefix: int = 1
) -> Tensor:
    """Fit a position embedding to a patch grid.

    Args:
        positions: ``[prefix + N, D]``, the class token's first, N a square.
        grid: Patch rows and columns wanted.
        resampling: The rule.
        prefix: How many are not of patches.

    Returns:
        ``[prefix + rows * columns, D]``.
    """
    patches = resample_patches(positions[prefix:], grid, resampling)
    return torch.cat([positions[:prefix], patches])


def resample_patches(positions: Tensor, grid: Grid, resampling: Resampling) -> Tensor:
    """Fit the position embedding ``[N, D]`` of patches alone; see :func:`resample_positions`."""
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
    """How queries and keys are turned by where their patch is, the other tokens not at all.

    Half of a head's channels are turned by the row, half by the column: pairs of channels by the
    angle ``place / period``.

    Attributes:
        base: Largest period; they fall geometrically to 1.
        relative: DINOv3's way. A place is the centre of its patch, ``-2π`` to ``2π`` over the
            image, and a channel's partner is half a head away; rows come first. Else PE's: patches
            are counted from 1, partners are neighbours, and columns come first.
        periods: A checkpoint's own, a quarter as many as a head has channels.
    """

    base: float
    relative: bool = True
    periods: tuple[float, ...] | None = None


class Turns(NamedTuple):
    """Cosines and sines of the angles of each token, float32 ``[P + N, d]``, and the partners."""

    cos: Tensor
    sin: Tensor
    neighbours: bool

    def __call__(self, x: Tensor) -> Tensor:
        """Turn queries or keys ``[..., P + N, d]``."""
        if self.neighbours:
            first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
            partners = torch.stack([-second, first], -1).flatten(-2)
        else:
            first, second = x.chunk(2, -1)
            partners = torch.cat([-second, first], -1)
        return (x * self.cos + partners * self.sin).to(x.dtype)


def rotary_turns(
    rotary: Rotary, grid: Grid, prefix: int, width: int, device: torch.device
) -> Turns:
    """The angles of a grid's tokens.

    Args:
        rotary: The rule.
        grid: Patch rows and columns.
        prefix: Number of tokens in front, which are not turned.
        width: Channel width of a head.
        device: Device of the result.
    """
    cos, sin = _cos_and_sin(rotary, grid, prefix, width, device)
    return Turns(cos, sin, not rotary.relative)


@cached_tensors(max_bytes=1 << 24)
def _cos_and_sin(
    rotary: Rotary, grid: Grid, prefix: int, width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """See :func:`rotary_turns`; computed on the CPU, so that they are the same on every device."""
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
