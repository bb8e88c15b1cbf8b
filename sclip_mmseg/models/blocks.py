"""A residual attention block of openai-clip, run batch first and without needless passes."""

from typing import Tuple

import torch.nn.functional as F
from torch import Tensor, nn

from ..utils.compat import openai_clip


def project(block: nn.Module, x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values ``[B, heads, 1 + N, d]`` of a block's normalised input."""
    own = block.attn
    qkv = F.linear(x, own.in_proj_weight, own.in_proj_bias)
    return qkv.unflatten(-1, (3, own.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind()


def project_back(block: nn.Module, mixed: Tensor) -> Tensor:
    """Join the heads of mixed values ``[B, heads, 1 + N, d]`` to ``[B, 1 + N, width]``."""
    return block.attn.out_proj(mixed.transpose(1, 2).flatten(2))


def add_attention(block: nn.Module, x: Tensor, mixed: Tensor) -> Tensor:
    """Add mixed values ``[B, heads, 1 + N, d]`` to a block's input ``[B, 1 + N, width]``."""
    return project_back(block, mixed).add_(x)


def add_mlp(block: nn.Module, x: Tensor) -> Tensor:
    """Run the MLP of a block on ``[B, 1 + N, width]``, and add its input."""
    hidden = block.mlp.c_fc(block.ln_2(x))
    if isinstance(block.mlp.gelu, openai_clip('model').QuickGELU):
        # x σ(1.702 x) as a SiLU, in place unless autograd needs its input.
        scaled = hidden.mul_(1.702)
        hidden = F.silu(scaled, inplace=not scaled.requires_grad).div_(1.702)
    else:
        hidden = block.mlp.gelu(hidden)
    return block.mlp.c_proj(hidden).add_(x)


def run_block(block: nn.Module, x: Tensor) -> Tensor:
    """Run a block on ``[B, 1 + N, width]``."""
    mixed = F.scaled_dot_product_attention(*project(block, block.ln_1(x)))
    return add_mlp(block, add_attention(block, x, mixed))


def run_block_with_weights(block: nn.Module, x: Tensor) -> Tuple[Tensor, Tensor]:
    """Run a block on ``[B, 1 + N, width]``.

    Returns:
        Its output, and its attention ``[B, heads, 1 + N, 1 + N]``, whose rows sum to 1.
    """
    q, k, v = project(block, block.ln_1(x))
    weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
    return add_mlp(block, add_attention(block, x, weights @ v)), weights
