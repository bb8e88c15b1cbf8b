"""Outputs of a tower: tokens, and intermediate values of its blocks."""

from dataclasses import dataclass, field
from types import SimpleNamespace

from torch import Tensor

Grid = tuple[int, int]


class BlockTokens(SimpleNamespace):
    """Intermediate values of a block; only the requested attributes exist.

    Attributes:
        input: The block's input ``[B, P + N, width]``.
        normalised: The input after the first norm, from which q, k and v are projected.
        q, k, v: Queries, keys and values ``[B, heads, P + N, d]``, after rotary positions.
        weights: Attention weights ``[B, heads, P + N, P + N]``; rows sum to 1.
        output: The block's output ``[B, P + N, width]``.
    """

    input: Tensor
    normalised: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    weights: Tensor
    output: Tensor


class OnGrid:
    """Splits tokens into P prefix tokens and the N patches of :attr:`grid`, in row-major order."""

    grid: Grid

    def __init__(self, grid: Grid):
        self.grid = grid

    @property
    def num_patches(self) -> int:
        """Number of patches N."""
        return self.grid[0] * self.grid[1]

    def patches_of(self, x: Tensor) -> Tensor:
        """The patches ``[..., N, C]`` of tokens ``[..., P + N, C]``."""
        return x[..., -self.num_patches :, :]

    def prefix_of(self, x: Tensor) -> Tensor:
        """The prefix ``[..., P, C]`` of tokens ``[..., P + N, C]``."""
        return x[..., : -self.num_patches, :]

    def map_of(self, weights: Tensor) -> Tensor:
        """The patch-to-patch part ``[..., N, N]`` of weights ``[..., P + N, P + N]``."""
        return weights[..., -self.num_patches :, -self.num_patches :]


@dataclass
class Tokens(OnGrid):
    """Tokens of B images, the result of :meth:`.vit.VisionTransformer.run`.

    Attributes:
        x: All tokens ``[B, P + N, width]``: the prefix (class token, registers), then N patches.
        grid: Patch rows and columns; their product is N.
        blocks: Kept values by block number, counted from 1.
        sums: Sums over blocks, float32, by the name of the summed value.
        copies: Copies of the class token ``[B, R, width]``; only with a scope.
    """

    x: Tensor
    grid: Grid
    blocks: dict[int, BlockTokens] = field(default_factory=dict)
    sums: dict[str, Tensor] = field(default_factory=dict)
    copies: Tensor = field(init=False, repr=False)

    @property
    def prefix(self) -> Tensor:
        """Prefix tokens ``[B, P, width]``."""
        return self.prefix_of(self.x)

    @property
    def patches(self) -> Tensor:
        """Patch tokens ``[B, N, width]``."""
        return self.patches_of(self.x)
