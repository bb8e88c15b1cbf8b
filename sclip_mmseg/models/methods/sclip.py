"""SCLIP (Wang et al., ECCV 2024, arXiv 2312.01597): Correlative Self-Attention."""

from torch import Tensor

from ...registry import METHODS
from .base import LastBlockMethod, LastTokens


@METHODS.register_module()
class SCLIP(LastBlockMethod):
    """``(softmax(q qᵀ / √d) + softmax(k kᵀ / √d)) v`` in the last block.

    A token attends to tokens that resemble it. The two maps are added, so that the weights of a
    token sum to 2, as in the released program.
    """

    def pairs(self, tokens: LastTokens) -> list[tuple[Tensor, Tensor]]:
        """See :class:`.base.LastBlockMethod`."""
        return [(tokens.q, tokens.q), (tokens.k, tokens.k)]
