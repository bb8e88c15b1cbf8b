"""MaskCLIP (Zhou et al., *Extract Free Dense Labels from CLIP*, ECCV 2022)."""

from torch import Tensor

from ...registry import METHODS
from .base import LastBlockMethod, LastTokens


@METHODS.register_module()
class MaskCLIP(LastBlockMethod):
    """Every token attends only to itself."""

    def mix(self, tokens: LastTokens) -> Tensor:
        """See :class:`.base.LastBlockMethod`."""
        return tokens.values
