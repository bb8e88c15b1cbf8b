"""GroupViT's image network (Xu et al., CVPR 2022): it groups patches into ever fewer segments."""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...towers import Block, Resampling, attention_logits
from ...towers.positions import resample_patches
from ...towers.vit import Grid, LayerNorm, embed_patches
from ...utils.torch_types import module_list


class StageSizes(NamedTuple):
    """Sizes of one stage.

    Attributes:
        depth: Number of blocks.
        tokens: Number of learned group tokens; 0 in the last stage.
        groups: Number of segments that the stage ends with; 0 in the last stage.
    """

    depth: int
    tokens: int
    groups: int


class Grouped(NamedTuple):
    """Outputs of the network for B images.

    Attributes:
        segments: Features of the G segments, ``[B, G, width]``.
        membership: Share of each patch in each segment, float32 ``[B, G, h, w]``; sums to 1 over
            the segments.
    """

    segments: Tensor
    membership: Tensor


class MLP(nn.Module):
    """Two layers with an exact GELU between them.

    Args:
        width: Channel width of the input, and of the output unless ``out`` is given.
        hidden: Width of the hidden layer.
        out: Channel width of the output; None for ``width``.
    """

    def __init__(self, width: int, hidden: int, out: int | None = None):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out or width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``[..., width]``."""
        return self.fc2(F.gelu(self.fc1(x)))


class CrossAttention(nn.Module):
    """Projections of an attention between two sets of tokens.

    Args:
        width: Channel width of all tokens.
        heads: Number of attention heads.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def project(self, slots: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute queries ``[B, heads, S, d]``, keys and values ``[B, heads, N, d]``."""
        projected = self.q(slots), self.k(x), self.v(x)
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in projected)
        return q, k, v

    def project_out(self, mixed: Tensor) -> Tensor:
        """Concatenate the heads of mixed values ``[B, heads, S, d]`` and project them."""
        return self.out(mixed.transpose(1, 2).flatten(2))


class Gather(nn.Module):
    """Lets S slots attend to N tokens; normalises afterwards, not before.

    Args:
        width: Channel width of all tokens.
        heads: Number of attention heads.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention = CrossAttention(width, heads)
        self.norm = LayerNorm(width)
        self.mlp = MLP(width, 4 * width)
        self.norm_post = LayerNorm(width)

    def forward(self, slots: Tensor, x: Tensor) -> Tensor:
        """Update slots ``[B, S, width]`` by tokens ``[B, N, width]``."""
        mixed = F.scaled_dot_product_attention(*self.attention.project(slots, x))
        slots = slots + self.attention.project_out(mixed)
        return self.norm_post(slots + self.mlp(self.norm(slots)))


class Grouping(nn.Module):
    """Assigns each of N tokens to one of S segments, and averages them.

    Args:
        width: Channel width of all tokens.
        heads: Number of heads of the attention from segments to tokens before the assignment.
        tokens: Number of group tokens.
        groups: Number of segments S.
    """

    def __init__(self, width: int, heads: int, tokens: int, groups: int):
        super().__init__()
        self.norm_tokens = LayerNorm(width)
        self.token_mlp = MLP(tokens, width // 2, groups)  # across tokens
        self.norm_slots = LayerNorm(width)
        self.norm_x = LayerNorm(width)
        self.gather = Gather(width, heads)
        self.assign = CrossAttention(width, heads=1)
        self.norm_new = LayerNorm(width)
        self.channel_mlp = MLP(width, 4 * width)

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Group tokens ``[B, N, width]`` by the stage's group tokens ``[B, T, width]``.

        Returns:
            Segments ``[B, S, width]``, from a hard assignment, and the soft assignment, float32
            ``[B, S, N]``, which sums to 1 over the segments.
        """
        x = self.norm_x(x)
        slots = self.norm_slots(self.token_mlp(self.norm_tokens(tokens).mT).mT)
        slots = self.gather(slots, x)
        q, k, v = self.assign.project(slots, x)
        soft = attention_logits(q, k)[:, 0].float().softmax(1)
        hard = F.one_hot(soft.argmax(1), soft.shape[1]).mT.to(v.dtype)
        # Dividing by the number of members plus one shrinks the mean, and never divides by zero.
        mean = hard / (hard.sum(-1, keepdim=True) + 1)
        new = self.assign.project_out(mean[:, None] @ v) + slots
        return new + self.channel_mlp(self.norm_new(new)), soft


class Stage(nn.Module):
    """Blocks on tokens and group tokens, followed by a grouping except in the last stage.

    Args:
        width: Channel width of all tokens.
        heads: Number of attention heads of each block.
        sizes: Sizes of the stage.
        previous: Number of group tokens of the previous stage; 0 for none.
    """

    def __init__(self, width: int, heads: int, sizes: StageSizes, previous: int):
        super().__init__()
        depth, tokens, groups = sizes
        self.group_tokens = nn.Parameter(torch.empty(tokens, width)) if tokens else None
        projected = bool(tokens and previous)
        self.token_norm = LayerNorm(width) if projected else None
        self.token_mlp = MLP(previous, width // 2, tokens) if projected else None
        self.blocks = module_list(
            Block(width, heads, 4 * width, quick_gelu=False) for _ in range(depth)
        )
        self.grouping = Grouping(width, heads, tokens, groups) if tokens else None

    @property
    def num_group_tokens(self) -> int:
        """Number of learned group tokens; 0 in the last stage."""
        return 0 if self.group_tokens is None else len(self.group_tokens)

    def forward(
        self, x: Tensor, previous: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Run the stage.

        Args:
            x: Tokens ``[B, N, width]``.
            previous: Output group tokens of the previous stage, ``[B, T', width]``.

        Returns:
            Segments; output group tokens of this stage; the soft assignment.
        """
        if self.group_tokens is None or self.grouping is None:
            for block in self.blocks:
                x = block(x)
            return x, None, None
        tokens = self.group_tokens.expand(x.shape[0], -1, -1)
        if self.token_mlp is not None and self.token_norm is not None and previous is not None:
            tokens = tokens + self.token_mlp(self.token_norm(previous).mT).mT
        count = x.shape[1]
        x = torch.cat([x, tokens], 1)
        for block in self.blocks:
            x = block(x)
        x, tokens = x[:, :count], x[:, count:]
        x, soft = self.grouping(x, tokens)
        return x, tokens, soft


class GroupViTNetwork(nn.Module):
    """Maps images to segments.

    Args:
        width: Channel width of the tokens; there are ``width // 64`` heads.
        patch_size: Side of a patch in pixels.
        positions: Number of position embeddings.
        stages: Sizes of each stage.
    """

    resampling = Resampling(offset=None)

    def __init__(self, width: int, patch_size: int, positions: int, stages: Sequence[StageSizes]):
        super().__init__()
        heads = width // 64
        self.width, self.heads, self.patch_size = width, heads, patch_size
        self.patch_embed = nn.Conv2d(3, width, patch_size, patch_size)
        self.norm_patches = LayerNorm(width)
        self.positions = nn.Parameter(torch.empty(positions, width))
        tokens = [0, *(sizes.tokens for sizes in stages)]
        self.stages = module_list(
            Stage(width, heads, sizes, previous) for sizes, previous in zip(stages, tokens)
        )
        self.norm = LayerNorm(width)

    def grid(self, images: Tensor) -> Grid:
        """Rows and columns of patches of images ``[..., H, W]``, without incomplete patches."""
        height, width = images.shape[-2:]
        return height // self.patch_size, width // self.patch_size

    def forward(self, images: Tensor) -> Grouped:
        """Segment images ``[B, 3, H, W]``, normalised by ImageNet's mean and standard deviation."""
        grid = self.grid(images)
        images = images.to(self.patch_embed.weight.dtype)
        x = self.norm_patches(embed_patches(self.patch_embed, images))
        x = x + resample_patches(self.positions.float(), grid, self.resampling).to(x.dtype)
        tokens, assignments = None, []
        for stage in self.stages:
            x, tokens, soft = stage(x, tokens)
            if soft is not None:
                assignments.append(soft)
        membership = reduce(lambda before, soft: soft @ before, assignments)
        return Grouped(self.norm(x), membership.unflatten(-1, grid))
