"""CLIP, unchanged (Radford et al., ICML 2021)."""

from torch import Tensor

from ...registry import METHODS
from .base import LastBlockMethod, LastTokens


@METHODS.register_module()
class CLIP(LastBlockMethod):
    """CLIP's own attention, ``softmax(q kᵀ / √d) v``."""

    def pairs(self, tokens: LastTokens) -> list[tuple[Tensor, Tensor]]:
        """See :class:`.base.LastBlockMethod`."""
        return [(tokens.q, tokens.k)]
