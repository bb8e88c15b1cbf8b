"""CLIP's ViT image tower with a replaceable attention in its last block, as a dense encoder."""

import math
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..utils.compat import openai_clip
from ..utils.errors import InputError
from .attention import BlockTokens, attention_weights
from .blocks import (
    add_attention,
    add_mlp,
    project,
    project_back,
    run_block,
    run_block_with_weights,
)
from .checkpoint import load_clip
from .towers import build_image_tower
from .window_batch import choose_window_batch

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
        self._check_earlier_blocks()
        self.patch_size: int = self.visual.conv1.kernel_size[0]
        self.embed_dim: int = self.visual.output_dim
        self.dtype = PRECISIONS[precision]
        _cast_but_layer_norm(self.visual, self.dtype)

    def _check_earlier_blocks(self) -> None:
        earlier = len(self.visual.transformer.resblocks) - 1
        wanted = list(self.attention.earlier_blocks)
        if any(not 1 <= block <= earlier for block in wanted):
            raise InputError(
                f'attention asks for the maps of blocks {wanted}, there are blocks 1 to {earlier} '
                'before the last: set model.image_encoder.attention.rcs.blocks to middle ones'
            )

    def forward(self, images: Tensor, text_head: Optional[nn.Module] = None) -> Tensor:
        """Encode images.

        Args:
            images: ``[B, 3, H, W]``, normalised RGB; both sides at least ``patch_size``. Pixels
                beyond the last whole patch are not seen.
            text_head: The head that segments for a method with feedback, see :class:`.SFR`.

        Returns:
            L2-normalised patch features ``[B, H // patch_size, W // patch_size, D]``, float32.
        """
        return self._features(*self._refined_tokens(images, text_head))

    def choose_batch(self, size: Tuple[int, int]) -> int:
        """Number of images of a height and width in pixels to encode at a time."""
        tokens = 1 + math.prod(side // self.patch_size for side in size)
        heads = self.visual.transformer.resblocks[0].attn.num_heads
        device = self.visual.proj.device
        return choose_window_batch(tokens, len(self.visual.class_embedding), heads, device)

    def attention_weights(self, images: Tensor, text_head: Optional[nn.Module] = None) -> Tensor:
        """Weights of the last block ``[B, heads, 1 + N, 1 + N]``; arguments as :meth:`forward`."""
        _, tokens = self._refined_tokens(images, text_head)
        return attention_weights(self.attention, tokens)

    def _refined_tokens(
        self, images: Tensor, text_head: Optional[nn.Module]
    ) -> Tuple[Tensor, BlockTokens]:
        """Run :meth:`_before_last_attention` and, for a method with feedback, the first pass."""
        x, tokens = self._before_last_attention(images)
        feedback = self.attention.feedback
        if feedback is not None:
            first = text_head(self._features(x, tokens))  # as yet without similarity
            class_ids = text_head.query_set.class_ids
            tokens.similarity = feedback(first, images, class_ids, self.patch_size)
        return x, tokens

    def _before_last_attention(self, images: Tensor) -> Tuple[Tensor, BlockTokens]:
        """Input of the last block ``[B, 1 + N, width]``, and what its attention sees."""
        visual = self.visual
        x, grid = embed_patches(visual.conv1, images.to(self.dtype))
        class_token = visual.class_embedding.to(x.dtype).expand(len(x), 1, -1)
        positions = resample_positions(visual.positional_embedding, grid)
        x = torch.cat([class_token, x], dim=1) + positions.to(x.dtype)
        x = visual.ln_pre(x)
        *blocks, last = visual.transformer.resblocks
        wanted = self.attention.earlier_blocks
        earlier = None
        for number, block in enumerate(blocks, 1):
            if number in wanted:
                x, weights = run_block_with_weights(block, x)
                earlier = weights if earlier is None else earlier.add_(weights)
            else:
                x = run_block(block, x)
        q, k, v = project(last, normalised := last.ln_1(x))
        if earlier is not None:
            earlier /= len(set(wanted))
        return x, BlockTokens(q, k, v, normalised, grid, earlier)

    def _features(self, x: Tensor, tokens: BlockTokens) -> Tensor:
        """Run the last block's attention and all that follows."""
        visual, block = self.visual, self.visual.transformer.resblocks[-1]
        mixed = self.attention(tokens)
        if self.attention.keep_residual:
            x = add_mlp(block, add_attention(block, x, mixed))
        else:
            x = project_back(block, mixed)
        features = visual.ln_post(x[:, 1:]) @ visual.proj
        return F.normalize(features.float(), dim=-1).unflatten(1, tokens.grid)


def embed_patches(conv: nn.Conv2d, images: Tensor) -> Tuple[Tensor, Tuple[int, int]]:
    """Embed patches by a matrix product, which unlike cuDNN's convolutions is no TF32 by default.

    Args:
        conv: Convolution whose stride is its kernel's size, without bias.
        images: ``[B, 3, H, W]``.

    Returns:
        Tokens ``[B, rows * columns, width]``, and the grid's rows and columns.
    """
    side = conv.kernel_size[0]
    # [B, 3, rows, columns, side, side]
    patches = images.unfold(2, side, side).unfold(3, side, side)
    grid = tuple(patches.shape[2:4])
    patches = patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    return F.linear(patches, conv.weight.flatten(1)), grid


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
            for name, parameter in module.named_parameters(recurse=False):
                if name != 'positional_embedding':  # which is resampled first
                    parameter.data = parameter.data.to(dtype)
