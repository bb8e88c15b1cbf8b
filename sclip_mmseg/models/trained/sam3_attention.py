"""Attention of SAM 3's queries to an image's patches, summed in parts."""

from typing import Any

import torch
from torch import Tensor, nn

_PART = 512  # number of patches in a partial sum


class ChunkedAttention(nn.Module):
    """An attention that adds partial sums over its keys.

    In float32 a sum of 5184 terms depends on their order: on some CPUs mask logits differ from the
    authors' by 5e-4. Adding partial sums reduces this to a tenth.

    Args:
        attention: A ``Sam3Attention``, whose projections keep their names.
    """

    def __init__(self, attention: Any):
        super().__init__()
        self.heads, self.scaling = attention.num_attention_heads, attention.scaling
        self.q_proj, self.k_proj = attention.q_proj, attention.k_proj
        self.v_proj, self.o_proj = attention.v_proj, attention.o_proj

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, **options: Any
    ) -> tuple[Tensor, None]:
        """Attend to keys.

        Args:
            query: Queries ``[N, q, D]``.
            key, value: Keys and values ``[N, k, D]``.
            attention_mask: Term that is added to the logits, ``[N, heads, q, k]``.
            options: Not used.

        Returns:
            Output ``[N, q, D]``; None in place of weights, as with fused attention.
        """
        q, k, v = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection, x in (
                (self.q_proj, query),
                (self.k_proj, key),
                (self.v_proj, value),
            )
        )
        out = torch.zeros_like(q)
        # One prompt at a time, whose weights are small enough to stay in a CPU's cache.
        for sums, queries, keys, values, bias in zip(out, q, k, v, attention_mask):
            logits = torch.baddbmm(bias, queries, keys.mT, alpha=self.scaling)
            for part, rows in zip(logits.softmax(-1).split(_PART, -1), values.split(_PART, -2)):
                sums += part @ rows
        return self.o_proj(out.transpose(1, 2).flatten(2)), None


def use_chunked_attention(decoder: Any) -> None:
    """Let a ``Sam3DetrDecoder`` attend to patches by partial sums."""
    for layer in decoder.layers:
        layer.vision_cross_attn = ChunkedAttention(layer.vision_cross_attn)
