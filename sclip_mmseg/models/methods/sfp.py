"""SFP, *Feature Purification Matters* (Jin et al., ICCV 2025), as in its released program."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...registry import METHODS
from ...towers import Grid, Tokens
from ...utils.errors import InputError
from .scclip import SCCLIP

_RULES = ('attention', 'norm', 'factor')


@METHODS.register_module()
class SFP(SCCLIP):
    """SC-CLIP with another rule for anomalous patches and other maps in the last attention.

    1. A patch is salient if ``salience · A[class, j] > A[j, j]``, where A is the mean attention
       over heads of the second last block: the class token attends to it more than it attends to
       itself. The ``count`` salient patches to which the class token attends most are anomalous, or
       all of them if they are fewer.
    2. In the given map, similarities below ``threshold`` count as 0, also in their mean.
    3. The main branch averages this map with ``softmax(k kᵀ / √d)`` and ``softmax(q qᵀ / √d)``; the
       branch of the level blocks uses this map only.

    The defaults are the released values. Blocks are counted from 1, and not scaled with the depth.

    Args:
        rule: Rule for anomalous patches: ``'attention'`` is the one above; ``'norm'`` takes the
            ``count`` patches of largest norm; ``'factor'`` is :class:`.scclip.SCCLIP`'s.
        count: Largest number of anomalous patches of a window, for the first two rules.
        salience: Factor of the first rule, positive.
        neighbours: Number of nearest patches, for the third rule.
        share: Share of anomalous patches, for the third rule.
        similarity_block: Block that gives the similarity of patches, as in :class:`.scclip.SCCLIP`.
        edge_block: Block that gives the similarity for averaging the result.
        level_blocks: Blocks whose summed outputs are the second branch.
        class_weight: Weight of the class token, which is added to every patch.
        threshold: Smallest similarity that counts, at least 0 and below 1.
        temperature: Factor on the similarities in the last attention.

    Raises:
        InputError: If a value is out of range.
    """

    own_maps = ('kq', '')

    def __init__(
        self,
        rule: str = 'attention',
        count: int = 10,
        salience: float = 1.5,
        neighbours: int = 30,
        share: float = 0.05,
        similarity_block: int = 9,
        edge_block: int = 4,
        level_blocks: Sequence[int] = (4, 5, 6, 7, 8, 9, 10),
        class_weight: float = 0.3,
        threshold: float = 0.4,
        temperature: float = 3.0,
    ):
        super().__init__(
            neighbours,
            share,
            similarity_block,
            edge_block,
            level_blocks,
            class_weight,
            threshold,
            temperature,
        )
        if rule not in _RULES:
            raise InputError(f'method.rule={rule!r} must be one of {", ".join(_RULES)}')
        if not isinstance(count, int) or count < 0:
            raise InputError(f'method.count={count!r} must be an integer, at least 0')
        if not salience > 0:
            raise InputError(f'method.salience={salience} must be positive')
        self.rule, self.count, self.salience = rule, count, salience
        self.sees_attention = rule == 'attention'

    def check_grid(self, grid: Grid) -> None:
        """See :class:`.scclip.SCCLIP`."""
        if self.rule == 'factor':
            super().check_grid(grid)

    def find(self, tokens: Tokens, attention: Tensor | None = None) -> Tensor:
        """See :class:`.scclip.SCCLIP`."""
        if self.rule == 'factor':
            return super().find(tokens)
        if attention is None:
            return strongest(tokens.patches.norm(dim=-1), self.count)
        mean = attention.float().mean(1)
        seen = mean[:, 0, -tokens.num_patches :]  # attention of the class token
        own = tokens.map_of(mean).diagonal(dim1=1, dim2=2)
        salient = self.salience * seen > own
        return salient & strongest(seen.masked_fill(~salient, -1), self.count)

    def attention(self, similarity: Tensor) -> Tensor:
        """See :class:`.scclip.SCCLIP`; similarities below the threshold count as 0."""
        return super().attention(similarity.masked_fill(similarity < self.threshold, 0))


def strongest(values: Tensor, count: int) -> Tensor:
    """Mark the ``count`` largest values of each row ``[B, N]``, bool ``[B, N]``."""
    chosen = values.topk(min(count, values.shape[1]), dim=1).indices
    return torch.zeros_like(values, dtype=torch.bool).scatter_(1, chosen, True)
