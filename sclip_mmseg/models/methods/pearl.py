"""PEARL (2603.21528): keys rotated towards the queries before the last attention."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...registry import METHODS
from ...utils.errors import InputError
from .base import LastBlockMethod, LastTokens


@METHODS.register_module()
class PEARL(LastBlockMethod):
    """``softmax((q (k R)ᵀ + α K Kᵀ) / √d)``, without residual and MLP.

    K and Q are keys and queries minus their means; the mean weights each patch by the norm of its
    query, and excludes prefix tokens. R approximates the rotation, per head, that best aligns K
    with Q: a few steps from ``Kᵀ Q``, see :func:`polar_factor`.

    The propagation of the paper is a refiner, :class:`..propagation.LaplacianPropagation`.

    Args:
        alpha: α, at least 0.
        steps: Number of Newton-Schulz steps; the published 5 do not converge.

    Raises:
        InputError: If a value is out of range.
    """

    keep_residual = False

    def __init__(self, alpha: float = 0.08, steps: int = 5):
        super().__init__()
        if not alpha >= 0:
            raise InputError(f'method.alpha={alpha} must not be negative')
        if not isinstance(steps, int) or steps < 1:
            raise InputError(f'method.steps={steps!r} must be a positive integer')
        self.alpha, self.steps = alpha, steps

    def mix(self, tokens: LastTokens) -> Tensor:
        """See :class:`.base.LastBlockMethod`."""
        q, k = tokens.q.float(), tokens.k.float()
        weights = q.norm(dim=-1, keepdim=True)
        prefix = q.shape[2] - tokens.num_patches
        weights = F.pad(tokens.patches_of(weights), (0, 0, prefix, 0))
        weights = weights / (weights.sum(2, keepdim=True) + 1e-6)
        queries = q - (weights * q).sum(2, keepdim=True)
        keys = k - (weights * k).sum(2, keepdim=True)
        rotation = polar_factor(keys.transpose(-1, -2) @ queries, self.steps)
        own = self.alpha**0.5 * keys
        a, b = torch.cat([q, own], -1), torch.cat([k @ rotation, own], -1)
        scale = q.shape[-1] ** -0.5
        dtype = tokens.v.dtype
        return F.scaled_dot_product_attention(a.to(dtype), b.to(dtype), tokens.values, scale=scale)


def polar_factor(matrices: Tensor, steps: int) -> Tensor:
    """Approximate the orthogonal polar factor ``M (Mᵀ M)^-½`` by Newton-Schulz steps.

    Args:
        matrices: M, float32 ``[..., d, d]``.
        steps: Number of steps.
    """
    square = matrices.transpose(-1, -2) @ matrices
    norm = torch.linalg.matrix_norm(square, keepdim=True).clamp(min=1e-20)  # 0 for equal tokens
    unit = torch.eye(square.shape[-1], device=square.device)
    root, inverse = square / norm + 1e-6 * unit, unit.expand_as(square)
    for _ in range(steps):
        step = (3 * unit - inverse @ root) / 2
        root, inverse = root @ step, step @ inverse
    return matrices @ inverse / norm.sqrt()
