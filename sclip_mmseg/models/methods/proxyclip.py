"""ProxyCLIP (Lan et al., ECCV 2024, arXiv 2408.04883): attention from a second model."""

import torch.nn.functional as F
from torch import Tensor

from ...old_names import keep_old_names
from ...registry import METHODS
from ...towers import Block, Grid, VisionTransformer
from ...towers.proxy import ProxyTower
from ...utils.errors import InputError
from ..view import View
from .base import Classify, Method, self_pairs, unflatten_map

keep_old_names(__name__, Resemblance='ProxyAttention')


class ProxyAttention(Method):
    """Attention by the similarity of a second model's patches.

    With S the cosines of the second model's patches, ``softmax(γ (S - β mean S))`` over the
    non-negative entries is the map of all heads of CLIP's last block.

    A patch always attends to itself, the largest entry of its row. Where the released program gives
    NaN, in a window so uniform that ``β mean S > 1``, each patch therefore keeps its own value.

    Args:
        beta: Threshold of the cosines, as a multiple of the window's mean.
        gamma: Sharpness of the softmax.

    Raises:
        InputError: If an argument is negative.
    """

    needs_proxy = True

    def __init__(self, beta: float = 1.2, gamma: float = 3.0):
        super().__init__()
        for name, value in (('beta', beta), ('gamma', gamma)):
            if value < 0:
                raise InputError(f'model.image_encoder.method.{name}={value} must not be negative')
        self.beta, self.gamma = beta, gamma

    def weights(self, features: Tensor, mean: Tensor | None = None) -> Tensor:
        """Compute the map ``[B, N, N]``, float32; rows sum to 1.

        Args:
            features: Patch features of the second tower, ``[B, N, C]``.
            mean: Mean of the cosines; None for each window's own.
        """
        cosines = pairwise_cosines(features)
        mean = cosines.mean((1, 2), keepdim=True) if mean is None else mean
        logits = cosines.sub_(self.beta * mean).mul_(self.gamma)
        dropped = (logits < 0) & ~self_pairs(logits)
        return logits.masked_fill_(dropped, -float('inf')).softmax(-1)


@METHODS.register_module()
class ProxyCLIP(ProxyAttention):
    """CLIP's values, mixed by the similarity of DINO's or DINOv2's patches.

    The map of :class:`ProxyAttention` mixes the patches' values on the second model's grid, without
    residual and MLP.

    Args:
        beta, gamma: See :class:`ProxyAttention`.

    Raises:
        InputError: If an argument is negative.
    """

    def forward(
        self, tower: VisionTransformer, view: View, classify: Classify, proxy: ProxyTower
    ) -> Tensor:
        """See :class:`.base.Method`; features are on the second tower's grid."""
        weights, grid = self._weigh(view, proxy)
        last = tower.run(view.images, {len(tower.blocks): ['input']})
        mixed = mix_values(tower.blocks[-1], last.patches, last.grid, weights, grid)
        return tower.read_out(mixed).unflatten(1, grid)

    def attention_map(
        self, tower: VisionTransformer, view: View, classify: Classify, proxy: ProxyTower
    ) -> Tensor:
        """See :class:`.base.Method`; on the second tower's grid."""
        return unflatten_map(*self._weigh(view, proxy))

    def _weigh(self, view: View, proxy: ProxyTower) -> tuple[Tensor, Grid]:
        """Return the map of all heads and its grid."""
        features = proxy(view.images)
        _, rows, columns, _ = features.shape
        return self.weights(features.flatten(1, 2)), (rows, columns)


def pairwise_cosines(features: Tensor) -> Tensor:
    """Compute cosines of all pairs of patches, float32 ``[B, N, N]``, from ``[B, N, C]``."""
    unit = F.normalize(features.float(), dim=-1)
    return unit @ unit.transpose(1, 2)


def mix_values(block: Block, patches: Tensor, grid: Grid, weights: Tensor, fine: Grid) -> Tensor:
    """Run a block's attention with given weights on another grid, without residual and MLP.

    Args:
        block: Block whose values and output projection are used.
        patches: Input of the block without prefix, ``[B, N, width]``.
        grid: Rows and columns of N.
        weights: One map for all heads, ``[B, M, M]``.
        fine: Rows and columns of M, to which the values are resized bilinearly.

    Returns:
        Features ``[B, M, width]``.
    """
    _, _, values = block.project(block.norm1(patches))
    values = values.transpose(1, 2).flatten(2)  # [B, N, width], all heads side by side
    if grid != fine:
        coarse = values.transpose(1, 2).unflatten(2, grid)
        values = F.interpolate(coarse, fine, mode='bilinear', align_corners=False)
        values = values.flatten(2).transpose(1, 2)
    return block.out(weights.to(values.dtype) @ values)
