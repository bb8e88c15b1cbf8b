"""Outputs of a tower: tokens, and the values kept of its blocks."""

from dataclasses import dataclass, field
from types import SimpleNamespace

from torch import Tensor

Grid = tuple[int, int]


class BlockTokens(SimpleNamespace):
    """Values kept of a block: it has the attributes that were asked for.

    Attributes:
        input: The block's input ``[B, P + N, width]``.
        normalised: The same after its first norm, of which q, k and v are projections.
        q, k, v: What its attention sees ``[B, heads, P + N, d]``, rotary positions included.
        weights: Its attention ``[B, heads, P + N, P + N]``; rows sum to 1.
        output: Its output ``[B, P + N, width]``.
    """

    input: Tensor
    normalised: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    weights: Tensor
    output: Tensor


class OnGrid:
    """Splits tokens: P in front, the prefix, and the N patches of :attr:`grid`, row by row."""

    grid: Grid

    def __init__(self, grid: Grid):
        self.grid = grid

    @property
    def num_patches(self) -> int:
        """N."""
        return self.grid[0] * self.grid[1]

    def patches_of(self, x: Tensor) -> Tensor:
        """The patches ``[..., N, C]`` of tokens ``[..., P + N, C]``."""
        return x[..., -self.num_patches :, :]

    def prefix_of(self, x: Tensor) -> Tensor:
        """The prefix ``[..., P, C]`` of tokens ``[..., P + N, C]``."""
        return x[..., : -self.num_patches, :]

    def map_of(self, weights: Tensor) -> Tensor:
        """The patches' part ``[..., N, N]`` of weights ``[..., P + N, P + N]``."""
        return weights[..., -self.num_patches :, -self.num_patches :]


@dataclass
class Tokens(OnGrid):
    """Tokens of B images, where a run of :meth:`.vit.VisionTransformer.run` ended.

    Attributes:
        x: All tokens ``[B, P + N, width]``: the prefix (class token, registers), then N patches.
        grid: Patch rows and columns, whose product is N.
        blocks: What was kept, by the blocks' numbers, counted from 1.
        sums: Sums over blocks, float32, by the name of what was summed.
        copies: The copies of the class token ``[B, R, width]``; only with a scope.
    """

    x: Tensor
    grid: Grid
    blocks: dict[int, BlockTokens] = field(default_factory=dict)
    sums: dict[str, Tensor] = field(default_factory=dict)
    copies: Tensor = field(init=False, repr=False)

    @property
    def prefix(self) -> Tensor:
        """``[B, P, width]``."""
        return self.prefix_of(self.x)

    @property
    def patches(self) -> Tensor:
        """``[B, N, width]``."""
        return self.patches_of(self.x)
