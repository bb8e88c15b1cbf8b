"""GEM (Bousselham et al., *Grounding Everything*, CVPR 2024, arXiv 2312.00878)."""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from ...registry import METHODS
from ...towers import Resampling, VisionTransformer
from ...utils.errors import InputError
from ..view import View
from .base import Classify, Method, unflatten_map

_RESAMPLING = Resampling(offset=None, antialias=True)  # of GEM's own positions


@METHODS.register_module()
class GEM(Method):
    """A second stream beside the last blocks, of self-self attention without residual MLPs.

    Each of these blocks adds to it ``(o_v + o_k + o_q) / 3`` through its output projection, where
    ``o_z = softmax(τ ẑ ẑᵀ) v``, of tokens that CLIP's own stream has there.

    Args:
        depth: One more than the number of blocks beside which the stream runs, as GEM counts.
        iterations: How often ``ẑ ← softmax(τ ẑ ẑᵀ) ẑ`` runs before.
        temperature: τ; None for the mean norm of an image's normalised tokens over √d.

    Raises:
        InputError: If a value is out of its range.
    """

    def __init__(self, depth: int = 7, iterations: int = 1, temperature: Optional[float] = None):
        super().__init__()
        if not isinstance(depth, int) or depth < 2:
            raise InputError(f'method.depth={depth!r} must be an integer above 1')
        if not isinstance(iterations, int) or iterations < 0:
            raise InputError(f'method.iterations={iterations!r} must be an integer from 0')
        if temperature is not None and not temperature > 0:
            raise InputError(f'method.temperature={temperature} must be positive, or None')
        self.depth, self.iterations, self.temperature = depth, iterations, temperature

    def check(self, tower: VisionTransformer) -> None:
        """See :class:`.base.Method`."""
        most = len(tower.blocks) + 1
        if self.depth > most:
            raise InputError(
                f'method.depth={self.depth} is more than the {most - 1} blocks of this tower and '
                f'one: set model.image_encoder.method.depth to {most} or less'
            )

    def forward(self, tower: VisionTransformer, view: View, classify: Classify) -> Tensor:
        """See :class:`.base.Method`."""
        x, grid = tower.embed(view.images, _RESAMPLING)
        first = len(tower.blocks) - (self.depth - 1)
        for block in tower.blocks[:first]:
            x = block(x)
        stream = x
        for number, block in enumerate(tower.blocks[first:], first + 1):
            normalised = block.norm1(x)
            q, k, v = block.project(normalised)
            stream = stream + block.join(self.mix(q, k, v, normalised, values=v))
            if number < len(tower.blocks):  # CLIP's own output is not asked for
                x = block.merge(x, F.scaled_dot_product_attention(q, k, v))
        return tower.read_out(stream[:, 1:]).unflatten(1, grid)

    def attention_map(self, tower: VisionTransformer, view: View, classify: Classify) -> Tensor:
        """See :class:`.base.Method`; of the last block."""
        x, grid = tower.embed(view.images, _RESAMPLING)
        *blocks, last = tower.blocks
        for block in blocks:
            x = block(x)
        normalised = last.norm1(x)
        q, k, v = last.project(normalised)
        identity = torch.eye(v.shape[2], dtype=v.dtype, device=v.device)
        values = identity.expand(*v.shape[:2], -1, -1)
        weights = self.mix(q, k, v, normalised, values).float().mean(1)
        return unflatten_map(weights[:, 1:, 1:], grid)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, normalised: Tensor, values: Tensor) -> Tensor:
        """The self-self attention.

        Args:
            q, k, v: ``[B, heads, 1 + N, d]``.
            normalised: What they are projected from, ``[B, 1 + N, width]``.
            values: What is mixed, ``[B, heads, 1 + N, e]``: v, but for pictures of the weights.

        Returns:
            Like ``values``.
        """
        # τ √d, since attention divides logits by √d.
        if self.temperature is None:
            scale = normalised.float().norm(dim=-1).mean(1).view(-1, 1, 1, 1)
        else:
            scale = self.temperature * q.shape[-1] ** 0.5
        mixed = 0
        for z in (v, k, q):
            z = _normalise(z)
            for _ in range(self.iterations):
                z = _normalise(_attend(z, scale, z))
            mixed = mixed + _attend(z, scale, values)
        return mixed / 3


def _normalise(z: Tensor) -> Tensor:
    """L2-normalise ``[..., d]``, in float32."""
    return F.normalize(z.float(), dim=-1).to(z.dtype)


def _attend(z: Tensor, scale, values: Tensor) -> Tensor:
    return F.scaled_dot_product_attention((z * scale).to(z.dtype), z, values)
