"""SFP, *Feature Purification Matters* (Jin et al., ICCV 2025), as its program is released."""

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

    1. A patch is salient if the class token attends to it more than it does to itself, in the mean
       over heads of the block before the last: ``salience · A[class, j] > A[j, j]``. Anomalous are
       the ``count`` salient ones to which the class token attends most, or all, if they are fewer.
    2. The given map compares the similarities of at least ``threshold`` alone: the others are 0 in
       their mean too.
    3. The main branch's map is the mean of that one, ``softmax(k kᵀ / √d)`` and
       ``softmax(q qᵀ / √d)``; in the branch of the level blocks that one is all.

    The defaults are the released values. Blocks are counted from 1, whatever the depth.

    Args:
        rule: How anomalous patches are found: ``'attention'`` as above; ``'norm'`` takes the
            ``count`` patches of largest norm, ``'factor'`` what :class:`.scclip.SCCLIP` takes.
        count: Largest number of anomalous patches of a window, for the first two rules.
        salience: Factor of the first rule, positive.
        neighbours: For the third rule, see :class:`.scclip.SCCLIP`.
        share: Likewise.
        similarity_block: See :class:`.scclip.SCCLIP`.
        edge_block: Likewise.
        level_blocks: Likewise.
        class_weight: Likewise.
        threshold: Likewise.
        temperature: Likewise.

    Raises:
        InputError: If a value is out of its range.
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
            raise InputError(f'method.count={count!r} must be an integer of at least 0')
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
        seen = mean[:, 0, -tokens.num_patches :]  # by the class token
        own = tokens.map_of(mean).diagonal(dim1=1, dim2=2)
        salient = self.salience * seen > own
        return salient & strongest(seen.masked_fill(~salient, -1), self.count)

    def attention(self, similarity: Tensor) -> Tensor:
        """See :class:`.scclip.SCCLIP`; similarities below the threshold count as 0."""
        return super().attention(similarity.masked_fill(similarity < self.threshold, 0))


def strongest(values: Tensor, count: int) -> Tensor:
    """Which of the values ``[B, N]`` are the largest of each row, bool ``[B, N]``."""
    chosen = values.topk(min(count, values.shape[1]), dim=1).indices
    return torch.zeros_like(values, dtype=torch.bool).scatter_(1, chosen, True)
