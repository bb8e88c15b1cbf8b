"""CLIP's ViT image tower with a replaceable attention in its last block, as a dense encoder."""

from typing import Tuple

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..compat import openai_clip
from ..errors import InputError
from .checkpoint import load_clip
from .towers import build_image_tower

PRECISIONS = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}


@MODELS.register_module()
class CLIPImageEncoder(nn.Module):
    """Patch features of a frozen CLIP.

    Args:
        clip: A CLIP by name or the path of a checkpoint, see :func:`.checkpoint.load_clip`.
        attention: Config of the last block's attention, a :class:`.attention.LastBlockAttention`.
        precision: ``'fp32'``, ``'fp16'`` or ``'bf16'``. LayerNorm is always computed in float32.
        quick_gelu: OpenAI's activation; False for the exact GELU of most OpenCLIP checkpoints.

    Raises:
        InputError: If the checkpoint cannot be used, or ``precision`` is unknown.
    """

    def __init__(
        self, clip: str, attention: dict, precision: str = 'fp32', quick_gelu: bool = True
    ):
        super().__init__()
        if precision not in PRECISIONS:
            raise InputError(f"precision='{precision}' is not one of {', '.join(PRECISIONS)}")
        self.attention = MODELS.build(attention)
        self.visual = build_image_tower(load_clip(clip), f"clip='{clip}'", quick_gelu)
        self.patch_size: int = self.visual.conv1.kernel_size[0]
        self.embed_dim: int = self.visual.output_dim
        self.dtype = PRECISIONS[precision]
        _cast_but_layer_norm(self.visual, self.dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        Args:
            images: ``[B, 3, H, W]``, normalised RGB; both sides at least ``patch_size``. Pixels
                beyond the last whole patch are not seen.

        Returns:
            L2-normalised patch features ``[B, H // patch_size, W // patch_size, D]``, float32.
        """
        visual = self.visual
        x = visual.conv1(images.to(self.dtype))
        batch, width, *grid = x.shape
        x = x.flatten(2).transpose(1, 2)
        class_token = visual.class_embedding.to(x.dtype).expand(batch, 1, width)
        positions = resample_positions(visual.positional_embedding, tuple(grid))
        x = torch.cat([class_token, x], dim=1) + positions.to(x.dtype)
        x = visual.ln_pre(x).transpose(0, 1)
        *blocks, last = visual.transformer.resblocks
        for block in blocks:
            x = block(x)
        x = self._last_block(last, x.transpose(0, 1))
        x = visual.ln_post(x[:, 1:]) @ visual.proj
        return F.normalize(x.float(), dim=-1).unflatten(1, grid)

    def _last_block(self, block: nn.Module, x: Tensor) -> Tensor:
        """Run the last block on tokens ``[B, 1 + N, width]`` with the method's attention."""
        own = block.attn
        qkv = F.linear(block.ln_1(x), own.in_proj_weight, own.in_proj_bias)
        q, k, v = qkv.unflatten(-1, (3, own.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = own.out_proj(self.attention(q, k, v).transpose(1, 2).flatten(2))
        if not self.attention.keep_residual:
            return mixed
        x = x + mixed
        return x + block.mlp(block.ln_2(x))


def resample_positions(positions: Tensor, grid: Tuple[int, int]) -> Tensor:
    """Fit CLIP's position embedding to a patch grid as the published programs do.

    Bicubic, with DINO's scale factor ``(n + 0.1) / √N``; untouched where the *number* of patches is
    the checkpoint's own, whatever the grid's shape.

    Args:
        positions: ``[1 + N, D]``, the class token's first, N a square.
        grid: Patch rows and columns wanted.

    Returns:
        ``[1 + rows * columns, D]``.
    """
    rows, columns = grid
    if rows * columns == len(positions) - 1:
        return positions
    side = round((len(positions) - 1) ** 0.5)
    patches = positions[1:].unflatten(0, (side, side)).permute(2, 0, 1)[None]
    patches = F.interpolate(
        patches,
        scale_factor=((rows + 0.1) / side, (columns + 0.1) / side),
        mode='bicubic',
        align_corners=False,
    )
    return torch.cat([positions[:1], patches[0].flatten(1).T])


def _cast_but_layer_norm(tower: nn.Module, dtype: torch.dtype) -> None:
    for module in tower.modules():
        if not isinstance(module, openai_clip('model').LayerNorm):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
