"""The attention of CLIP's last block: one short class per method.

A method decides how the tokens of the last block are mixed and whether the block keeps its residual
connections and MLP. Nothing else distinguishes the methods.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..utils.errors import InputError

Grid = Tuple[int, int]


@dataclass
class BlockTokens:
    """What the last block's attention sees; tokens are the class token and N patches, row by row.

    Attributes:
        q, k, v: The block's own queries, keys and values ``[B, heads, 1 + N, d]``.
        x: The block's normalised input ``[B, 1 + N, width]``, of which q, k and v are projections.
        grid: Patch rows and columns, whose product is N.
        earlier: Mean attention map of the blocks that the method asked for, ``[B, heads, 1 + N,
            1 + N]``; rows sum to 1.
        similarity: What :class:`.resclip.SFR` adds to the logits, ``[B, 1, 1 + N, 1 + N]``, 0 to 1.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    x: Tensor
    grid: Grid
    earlier: Optional[Tensor] = None
    similarity: Optional[Tensor] = None

    def heads_of(self, x: Tensor) -> Tensor:
        """Cut ``[B, 1 + N, width]`` into heads, ``[B, heads, 1 + N, d]``."""
        return x.unflatten(-1, (self.q.shape[1], -1)).transpose(1, 2)


class LastBlockAttention(nn.Module):
    """Base of the methods: the sum of one or more softmax maps, applied to the values.

    A method overrides :meth:`pairs`, :meth:`bias` or :meth:`forward`.
    """

    #: Whether the last block adds its input and runs its MLP; else its output is the attention's.
    keep_residual: bool = True
    #: Blocks, counted from 1, whose mean attention map the method needs.
    earlier_blocks: Sequence[int] = ()

    def __init__(self):
        super().__init__()
        #: Makes a similarity of patches from a first segmentation, see :class:`.resclip.SFR`.
        self.feedback: Optional[nn.Module] = None

    def pairs(self, tokens: BlockTokens) -> List[Tuple[Tensor, Tensor]]:
        """Features ``[B, heads, 1 + N, d]`` whose scaled products are the logits of each map."""
        raise NotImplementedError

    def bias(self, tokens: BlockTokens) -> Optional[Tensor]:
        """Added to all logits, broadcastable to ``[B, heads, 1 + N, 1 + N]``; None for 0."""
        return None

    def forward(self, tokens: BlockTokens) -> Tensor:
        """Mix the values of all tokens.

        Returns:
            Mixed values ``[B, heads, 1 + N, d]``.
        """
        bias = self.bias(tokens)
        maps = (
            F.scaled_dot_product_attention(a, b, tokens.v, attn_mask=bias)
            for a, b in self.pairs(tokens)
        )
        return sum(maps)


@MODELS.register_module()
class CLIPAttention(LastBlockAttention):
    """CLIP's own attention, ``softmax(q kᵀ / √d) v`` (Radford et al., ICML 2021).

    Args:
        sharpness: Factor on the logits; SCLIP's ablation of sharpened attention uses 2 (τ).

    Raises:
        InputError: If ``sharpness`` is not positive.
    """

    def __init__(self, sharpness: float = 1.0):
        super().__init__()
        if not sharpness > 0:
            raise InputError(f'attention.sharpness={sharpness} must be positive')
        self.sharpness = sharpness

    def pairs(self, tokens: BlockTokens) -> List[Tuple[Tensor, Tensor]]:
        """See :class:`LastBlockAttention`."""
        return [(tokens.q * self.sharpness, tokens.k)]


@MODELS.register_module()
class MaskCLIPAttention(LastBlockAttention):
    """Every token attends to itself alone (MaskCLIP, Zhou et al., ECCV 2022)."""

    def forward(self, tokens: BlockTokens) -> Tensor:
        """See :class:`LastBlockAttention`."""
        return tokens.v


@MODELS.register_module()
class CSA(LastBlockAttention):
    """Correlative Self-Attention, ``(softmax(q qᵀ / √d) + softmax(k kᵀ / √d)) v``.

    The maps are added, so that the weights of a token sum to 2 (SCLIP, arXiv 2312.01597, and its
    released program).

    Args:
        projections: Which of ``'q'`` and ``'k'`` are correlated with themselves, a map for each.

    Raises:
        InputError: If there is another projection, or none.
    """

    def __init__(self, projections: Sequence[str] = ('q', 'k')):
        super().__init__()
        if not projections or not set(projections) <= {'q', 'k'}:
            raise InputError(f"attention.projections={projections!r} must be 'q', 'k' or both")
        self.projections = tuple(projections)

    def pairs(self, tokens: BlockTokens) -> List[Tuple[Tensor, Tensor]]:
        """See :class:`LastBlockAttention`."""
        features = [getattr(tokens, name) for name in self.projections]
        return [(feature, feature) for feature in features]


@MODELS.register_module()
class ClearCLIPAttention(CSA):
    """``softmax(q qᵀ / √d) v``, without residual and MLP (ClearCLIP, Lan et al., ECCV 2024)."""

    keep_residual = False

    def __init__(self):
        super().__init__(projections='q')


@MODELS.register_module()
class NACLIPAttention(CSA):
    """``softmax(k kᵀ / √d + ω) v``, without residual and MLP (NACLIP, Hajimiri et al., WACV 2025).

    Args:
        std: Standard deviation of the Gaussian window ω in patches.

    Raises:
        InputError: If ``std`` is not positive.
    """

    keep_residual = False

    def __init__(self, std: float = 5.0):
        super().__init__(projections='k')
        if not std > 0:
            raise InputError(f'attention.std={std} must be positive')
        self.std = std

    def bias(self, tokens: BlockTokens) -> Tensor:
        """The window ω ``[1 + N, 1 + N]``."""
        return gaussian_window(tokens.grid, self.std, tokens.k.dtype, tokens.k.device)


@MODELS.register_module()
class LocalAttention(CLIPAttention):
    """CLIP's attention among the patches of a window around each (SCLIP's ablation).

    The class token attends to all tokens and patches attend to it.

    Args:
        window: Side of the window in patches, odd.

    Raises:
        InputError: If ``window`` is not odd and positive.
    """

    def __init__(self, window: int = 3):
        super().__init__()
        if window < 1 or window % 2 == 0:
            raise InputError(f'attention.window={window} must be an odd number of patches')
        self.window = window

    def bias(self, tokens: BlockTokens) -> Tensor:
        """0 in the window and for the class token, minus infinity elsewhere, ``[1 + N, 1 + N]``."""
        distance = torch.stack(patch_offsets(tokens.grid)).abs().amax(0)
        bias = torch.zeros(1 + len(distance), 1 + len(distance))
        bias[1:, 1:][distance > self.window // 2] = float('-inf')
        return bias.to(tokens.q, non_blocking=True)


@MODELS.register_module()
class EarlierBlockAttention(LastBlockAttention):
    """The attention map of an earlier block, applied to the last block's values (SCLIP's ablation).

    Args:
        block: The block, counted from 1.
    """

    def __init__(self, block: int = 3):
        super().__init__()
        self.earlier_blocks = (block,)

    def forward(self, tokens: BlockTokens) -> Tensor:
        """See :class:`LastBlockAttention`."""
        return tokens.earlier @ tokens.v


def attention_weights(attention: LastBlockAttention, tokens: BlockTokens) -> Tensor:
    """The weights that a method gives to the values: what it makes of the identity as values.

    Args:
        attention: Any method.
        tokens: What it sees.

    Returns:
        ``[B, heads, 1 + N, 1 + N]``, of the dtype of the values; a row per token.
    """
    identity = torch.eye(tokens.v.shape[2]).to(tokens.v).expand(*tokens.v.shape[:2], -1, -1)
    return attention(replace(tokens, v=identity))


def patch_offsets(grid: Grid) -> Tuple[Tensor, Tensor]:
    """Rows down and columns right from every patch i to every patch j, int64 ``[N, N]`` each."""
    rows, columns = grid
    index = torch.arange(rows * columns)
    y, x = index // columns, index % columns
    return y[None] - y[:, None], x[None] - x[:, None]


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def gaussian_window(grid: Grid, std: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """NACLIP's ω: a 2-D Gaussian of peak 1 over the patch grid, centred on each patch.

    Args:
        grid: Patch rows and columns.
        std: Standard deviation in patches.
        dtype: Of the result.
        device: Of the result.

    Returns:
        ``[1 + N, 1 + N]``, zero for the class token.
    """
    dy, dx = patch_offsets(grid)
    window = torch.zeros(1 + len(dy), 1 + len(dy))
    window[1:, 1:] = (-(dy**2 + dx**2) / (2 * std**2)).exp()
    return window.to(device=device, dtype=dtype)
