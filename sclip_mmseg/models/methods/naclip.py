"""NACLIP (Hajimiri et al., *Pay Attention to Your Neighbours*, WACV 2025)."""

from torch import Tensor

from ...registry import METHODS
from ...utils.errors import InputError
from .base import LastBlockMethod, LastTokens, gaussian_window


@METHODS.register_module()
class NACLIP(LastBlockMethod):
    """``softmax(k kᵀ / √d + ω) v``, without residual and MLP.

    Args:
        std: Standard deviation of the Gaussian window ω in patches.

    Raises:
        InputError: If ``std`` is not positive.
    """

    keep_residual = False

    def __init__(self, std: float = 5.0):
        super().__init__()
        if not std > 0:
            raise InputError(f'method.std={std} must be positive')
        self.std = std

    def pairs(self, tokens: LastTokens) -> list[tuple[Tensor, Tensor]]:
        """See :class:`.base.LastBlockMethod`."""
        return [(tokens.k, tokens.k)]

    def bias(self, tokens: LastTokens) -> Tensor:
        """The Gaussian window ω ``[P + N, P + N]``, 0 for prefix tokens."""
        return tokens.pad(gaussian_window(tokens.grid, self.std, tokens.k.dtype, tokens.k.device))
