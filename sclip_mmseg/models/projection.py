"""Correlation under other projections than CLIP's own: the ablations of SCLIP's paper."""

from functools import lru_cache
from typing import List, Optional, Tuple

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..utils.errors import InputError
from .attention import BlockTokens, LastBlockAttention


@MODELS.register_module()
class IdentityCSA(LastBlockAttention):
    """``softmax(x xᵀ / √width) v`` of the block's normalised input x, without any projection.

    One map over the whole width serves all heads: without a projection the heads' slices of x are
    arbitrary. (The paper does not say how x is divided among heads.)
    """

    def pairs(self, tokens: BlockTokens) -> List[Tuple[Tensor, Tensor]]:
        """See :class:`.attention.LastBlockAttention`."""
        x = tokens.x[:, None].expand(-1, tokens.q.shape[1], -1, -1)
        return [(x, x)]


@MODELS.register_module()
class RandomCSA(LastBlockAttention):
    """``Σᵢ softmax(x Wᵢ Wᵢᵀ xᵀ / √d) v`` with random matrices ``Wᵢ``, entries ``N(0, 1 / width)``.

    Args:
        num_projections: Number of matrices, a map for each.
        seed: Seed of the matrices.

    Raises:
        InputError: If ``num_projections`` is not positive.
    """

    def __init__(self, num_projections: int = 1, seed: int = 0):
        super().__init__()
        if num_projections < 1:
            raise InputError(f'attention.num_projections={num_projections} must be positive')
        self.num_projections = num_projections
        self.seed = seed

    def pairs(self, tokens: BlockTokens) -> List[Tuple[Tensor, Tensor]]:
        """See :class:`.attention.LastBlockAttention`."""
        matrices = random_projections(self.num_projections, tokens.x.shape[-1], self.seed)
        features = [tokens.heads_of(tokens.x @ matrix.to(tokens.x)) for matrix in matrices]
        return [(feature, feature) for feature in features]


@lru_cache(maxsize=2)
@torch.inference_mode(False)
def random_projections(count: int, width: int, seed: int) -> Tensor:
    """Matrices with entries drawn from ``N(0, 1 / width)``, float32 ``[count, width, width]``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, width, generator=generator) * width**-0.5


@MODELS.register_module()
class LearnedCSA(LastBlockAttention):
    """``softmax(x W Wᵀ xᵀ / √d) v`` with a learned matrix W.

    Args:
        projection: Path of a file with ``weight`` ``[width, width]``, as
            ``tools/train_projection.py`` writes it; None for the identity, to be trained.
        width: Width of the block, needed without ``projection``.

    Raises:
        InputError: If the file does not hold such a matrix, or there is neither file nor width.
    """

    def __init__(self, projection: Optional[str] = None, width: Optional[int] = None):
        super().__init__()
        if projection is None and width is None:
            raise InputError('attention.projection=None: name a file of tools/train_projection.py')
        self.weight = nn.Parameter(torch.eye(width) if projection is None else _read(projection))

    def pairs(self, tokens: BlockTokens) -> List[Tuple[Tensor, Tensor]]:
        """See :class:`.attention.LastBlockAttention`."""
        feature = tokens.heads_of(tokens.x @ self.weight.to(tokens.x.dtype))
        return [(feature, feature)]


def _read(path: str) -> Tensor:
    try:
        weight = torch.load(path, map_location='cpu', weights_only=True)['weight']
    except Exception as error:
        reason = str(error).strip().partition('\n')[0]
        raise InputError(f"attention.projection='{path}' holds no 'weight': {reason}") from error
    if weight.ndim != 2 or weight.shape[0] != weight.shape[1]:
        raise InputError(f'{path}: weight is {tuple(weight.shape)}, expected a square matrix')
    return weight.float()
