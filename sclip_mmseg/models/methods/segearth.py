"""SegEarth-OV (Li et al., CVPR 2025, arXiv 2410.01768), without its upsampler."""

import torch.nn.functional as F
from torch import Tensor

from ...registry import METHODS
from ...towers import VisionTransformer
from ...utils.errors import InputError
from ..view import View
from ..windowed_image import AdjustedQueries, WindowFeatures
from .base import Classify, LastBlockMethod, LastTokens


@METHODS.register_module()
class SegEarth(LastBlockMethod):
    """Sum of q-q, k-k and v-v attention, minus a share of the class token's cosines.

    The last block mixes by ``softmax(z zᵀ / √d)`` of queries, keys and values, whose weights sum to
    3, without residual and MLP. ``class_weight`` times the cosines of the class token, mixed alike,
    is added to the cosines of patches. The released program also upsamples patches, but not the
    class token, by :class:`..simfeatup.SimFeatUp`.

    Args:
        class_weight: Weight λ of the class token's cosines; 0 to leave them out.

    Raises:
        InputError: If ``class_weight`` is not a number.
    """

    keep_residual = False

    def __init__(self, class_weight: float = -0.3):
        super().__init__()
        if not isinstance(class_weight, (int, float)):
            raise InputError(f'method.class_weight={class_weight!r} must be a number, such as -0.3')
        self.class_weight = class_weight

    def pairs(self, tokens: LastTokens) -> list[tuple[Tensor, Tensor]]:
        """See :class:`.base.LastBlockMethod`."""
        return [(part, part) for part in (tokens.q, tokens.k, tokens.v)]

    def forward(
        self, tower: VisionTransformer, view: View, classify: Classify
    ) -> Tensor | WindowFeatures:
        """See :class:`.base.Method`."""
        _, tokens = self.prepare(tower, view, classify)
        seen = tower.read_out(tower.blocks[-1].project_out(self.mix(tokens)))
        features = tokens.patches_of(seen).unflatten(1, tokens.grid)
        if not self.class_weight:
            return features
        own = F.normalize(seen[:, 0].float(), dim=-1)
        texts = classify.embeddings
        adjusted = AdjustedQueries(
            texts.expand(own.shape[0], -1, -1), self.class_weight * own @ texts.T
        )
        return WindowFeatures(features, adjusted=adjusted)
