"""The attention of CLIP's last block: one short class per method.

A method decides how the tokens of the last block are mixed (``forward``) and whether the block
keeps its residual connections and MLP (``keep_residual``). Nothing else distinguishes the methods.
"""

import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn


class LastBlockAttention(nn.Module):
    """Base of the methods."""

    #: Whether the last block adds its input and runs its MLP; else its output is the attention's.
    keep_residual: bool = True

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Mix the values of all tokens.

        Args:
            q, k, v: Queries, keys and values ``[B, heads, 1 + N, d]`` of the last block's own
                projections, the class token first.

        Returns:
            Mixed values ``[B, heads, 1 + N, d]``.
        """
        raise NotImplementedError


@MODELS.register_module()
class CLIPAttention(LastBlockAttention):
    """CLIP's own attention, ``softmax(q kᵀ / √d) v`` (Radford et al., ICML 2021)."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :class:`LastBlockAttention`."""
        return F.scaled_dot_product_attention(q, k, v)


@MODELS.register_module()
class MaskCLIPAttention(LastBlockAttention):
    """Every token attends to itself alone (MaskCLIP, Zhou et al., ECCV 2022)."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :class:`LastBlockAttention`."""
        return v


@MODELS.register_module()
class CSA(LastBlockAttention):
    """Correlative Self-Attention, ``(softmax(q qᵀ / √d) + softmax(k kᵀ / √d)) v``.

    The two maps are added, so that the weights of a token sum to 2 (SCLIP, arXiv 2312.01597,
    section 3.2, and its released program).
    """

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :class:`LastBlockAttention`."""
        attend = F.scaled_dot_product_attention
        return attend(q, q, v) + attend(k, k, v)
