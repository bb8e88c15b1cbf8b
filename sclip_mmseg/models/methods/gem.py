"""GEM (Bousselham et al., *Grounding Everything*, CVPR 2024, arXiv 2312.00878)."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from ...registry import METHODS
from ...towers import BlockTokens, Resampling, Tokens, VisionTransformer
from ...utils.errors import InputError
from ...utils.torch_types import total
from ..view import View
from .base import Classify, Method, identity_values, unflatten_map

_RESAMPLING = Resampling(offset=None, antialias=True)  # as GEM resizes position embeddings
_SEEN = ('input', 'normalised', 'q', 'k', 'v')


@METHODS.register_module()
class GEM(Method):
    """A second stream beside the last blocks, with self-self attention and without MLPs.

    Each of these blocks adds ``(o_v + o_k + o_q) / 3`` to the stream through its output projection.
    ``o_z = softmax(τ ẑ ẑᵀ) v`` is computed from the tokens of CLIP's own stream.

    Args:
        depth: Number of blocks that the stream accompanies, plus one (GEM's convention).
        iterations: Number of repetitions of ``ẑ ← softmax(τ ẑ ẑᵀ) ẑ`` before that.
        temperature: τ; None for the mean norm of an image's normalised tokens over √d.

    Raises:
        InputError: If a value is out of range.
    """

    def __init__(self, depth: int = 7, iterations: int = 1, temperature: float | None = None):
        super().__init__()
        if not isinstance(depth, int) or depth < 2:
            raise InputError(f'method.depth={depth!r} must be an integer above 1')
        if not isinstance(iterations, int) or iterations < 0:
            raise InputError(f'method.iterations={iterations!r} must be an integer, at least 0')
        if temperature is not None and not temperature > 0:
            raise InputError(f'method.temperature={temperature} must be positive, or None')
        self.depth, self.iterations, self.temperature = depth, iterations, temperature

    def check(self, tower: VisionTransformer) -> None:
        """See :class:`.base.Method`."""
        most = len(tower.blocks) + 1
        if self.depth > most:
            raise InputError(
                f'method.depth={self.depth} is more than the {most - 1} blocks of this tower plus '
                f'one: set model.image_encoder.method.depth to {most} or less'
            )

    def forward(self, tower: VisionTransformer, view: View, classify: Classify) -> Tensor:
        """See :class:`.base.Method`."""
        added: list[Tensor] = []  # the stream so far

        def join(number: int, seen: BlockTokens) -> None:
            mixed = tower.blocks[number - 1].project_out(self.mix(seen, values=seen.v))
            added[:] = [(added[0] if added else seen.input) + mixed]

        tokens = self._run(tower, view, self.depth - 1, join)
        return tower.read_out(tokens.patches_of(added[0])).unflatten(1, tokens.grid)

    def attention_map(self, tower: VisionTransformer, view: View, classify: Classify) -> Tensor:
        """See :class:`.base.Method`; the map of the last block."""
        tokens = self._run(tower, view, 1)
        [last] = tokens.blocks.values()
        weights = self.mix(last, values=identity_values(last.v))
        return unflatten_map(tokens.map_of(weights.float().mean(1)), tokens.grid)

    def _run(
        self,
        tower: VisionTransformer,
        view: View,
        count: int,
        each: Callable[[int, BlockTokens], None] | None = None,
    ) -> Tokens:
        """Run the tower, and keep or process the attention inputs of the last ``count`` blocks."""
        depth = len(tower.blocks)
        asked = dict.fromkeys(range(depth - count + 1, depth + 1), _SEEN)
        return tower.run(view.images, asked, each=each, resampling=_RESAMPLING)

    def mix(self, seen: BlockTokens, values: Tensor) -> Tensor:
        """Compute the self-self attention.

        Args:
            seen: Inputs of the block's own attention.
            values: Values to mix, ``[B, heads, P + N, e]``: v, or an identity for the weights
                themselves.

        Returns:
            Mixed values, shaped like ``values``.
        """
        # τ √d, since attention divides logits by √d.
        scale: Tensor | float
        if self.temperature is None:
            scale = seen.normalised.float().norm(dim=-1).mean(1).view(-1, 1, 1, 1)
        else:
            scale = self.temperature * seen.q.shape[-1] ** 0.5

        def mixed(z: Tensor) -> Tensor:
            z = _normalise(z)
            for _ in range(self.iterations):
                z = _normalise(_attend(z, scale, z))
            return _attend(z, scale, values)

        return total(map(mixed, (seen.v, seen.k, seen.q))) / 3


def _normalise(z: Tensor) -> Tensor:
    """L2-normalise ``[..., d]``, in float32."""
    return F.normalize(z.float(), dim=-1).to(z.dtype)


def _attend(z: Tensor, scale: Tensor | float, values: Tensor) -> Tensor:
    return F.scaled_dot_product_attention((z * scale).to(z.dtype), z, values)
