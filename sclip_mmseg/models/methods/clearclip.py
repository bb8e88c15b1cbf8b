"""ClearCLIP (Lan et al., ECCV 2024)."""

from torch import Tensor

from ...registry import METHODS
from .base import LastBlockMethod, LastTokens


@METHODS.register_module()
class ClearCLIP(LastBlockMethod):
    """``softmax(q qᵀ / √d) v``, without residual and MLP."""

    keep_residual = False

    def pairs(self, tokens: LastTokens) -> list[tuple[Tensor, Tensor]]:
        """See :class:`.base.LastBlockMethod`."""
        return [(tokens.q, tokens.q)]
