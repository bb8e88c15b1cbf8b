"""The Vision Transformer of CLIP, DINO, RADIO and PE-Spatial, in plain PyTorch.

:mod:`.layouts` maps the checkpoints of each family to it. A method (:mod:`..models.methods`) may
run the blocks itself: :meth:`VisionTransformer.embed`, then each :class:`Block` as a whole or in
its three steps, then :meth:`VisionTransformer.read_out`. Most methods instead request the
intermediate values they need from :meth:`VisionTransformer.run`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..old_names import keep_old_names
from ..utils.torch_types import module_list
from .positions import Resampling, Rope, Rotary, make_rope, resample_positions
from .tokens import BlockTokens, Grid, Tokens

keep_old_names(__name__, resample_patches='towers.positions.resample_patches')


class LayerNorm(nn.LayerNorm):
    """LayerNorm in float32, whatever the dtype of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[..., width]``."""
        weight, bias = self.weight.float(), self.bias.float()  # the whole model may have been cast
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


class Block(nn.Module):
    """A pre-norm residual block of self-attention and MLP.

    Args:
        width: Channel width of the tokens.
        heads: Number of attention heads.
        hidden: Width of the MLP's hidden layer.
        quick_gelu: Whether the activation is OpenAI's ``x σ(1.702 x)``; False for the exact GELU.
        layer_scale: Whether both branches are scaled per channel (DINOv2).
        eps: Epsilon of the LayerNorms.
        gated: Whether the MLP is a SwiGLU, in which the SiLU of a second layer's output times the
            first layer's output replaces the activation.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        quick_gelu: bool = True,
        layer_scale: bool = False,
        eps: float = 1e-5,
        gated: bool = False,
    ):
        super().__init__()
        self.heads = heads
        self.quick_gelu = quick_gelu
        self.norm1 = LayerNorm(width, eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = LayerNorm(width, eps)
        self.gate = nn.Linear(width, hidden) if gated else None
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.scale1 = nn.Parameter(torch.empty(width)) if layer_scale else None
        self.scale2 = nn.Parameter(torch.empty(width)) if layer_scale else None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Run the block on tokens ``[B, N, width]``, without rotary positions.

        Args:
            x: Tokens ``[B, N, width]``.
            mask: Values ``[N, N]`` that are added to the attention logits.
        """
        q, k, v = self.project(self.norm1(x))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.residual_mlp(x, mixed)

    def forward_intermediates(
        self,
        x: Tensor,
        wanted: Collection[str],
        rope: Rope | None = None,
        complete: bool = True,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the block, and also return intermediate values.

        Args:
            x: Tokens ``[B, N, width]``.
            wanted: Names of the values, attributes of :class:`.tokens.BlockTokens`.
            rope: Rotary positions, see :meth:`project`.
            complete: Whether to compute the output; if not, the block's input is returned instead,
                and the values that do not need the output.
        """
        normalised = self.norm1(x)
        q, k, v = self.project(normalised, rope)
        found = dict(input=x, normalised=normalised, q=q, k=k, v=v)
        del normalised  # free its memory
        if 'weights' in wanted:
            found['weights'] = attention_logits(q, k).softmax(-1)
        found = {name: value for name, value in found.items() if name in wanted}
        if complete:
            weights = found.get('weights')
            attended = F.scaled_dot_product_attention(q, k, v) if weights is None else weights @ v
            x = self.residual_mlp(x, attended)
        if 'output' in wanted:
            found['output'] = x
        return x, found

    def attend(self, x: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        """Run the block on tokens that attend to other tokens, but not to each other.

        Args:
            x: The tokens ``[B, M, width]``.
            k, v: Keys and values of the other tokens, ``[B, heads, N, d]``.
            seen: Attention mask, bool ``[B, 1, M, N]``: True where a token attends to another.

        Returns:
            ``[B, M, width]``.
        """
        q, _, _ = self.project(self.norm1(x))
        return self.residual_mlp(x, F.scaled_dot_product_attention(q, k, v, attn_mask=seen))

    def project(
        self, normalised: Tensor, rope: Rope | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values ``[B, heads, N, d]`` of the normalised input.

        Args:
            normalised: Output of ``norm1``, ``[B, N, width]``.
            rope: Rotary positions of the N tokens; None to leave them out.
        """
        qkv = self.qkv(normalised).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()
        return (q, k, v) if rope is None else (rope(q), rope(k), v)

    def project_kv(self, normalised: Tensor, rope: Rope | None = None) -> tuple[Tensor, Tensor]:
        """Keys and values only, see :meth:`project`."""
        width = normalised.shape[-1]
        kv = F.linear(normalised, self.qkv.weight[width:], self.qkv.bias[width:])
        k, v = kv.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        return (k, v) if rope is None else (rope(k), v)

    def project_out(self, mixed: Tensor) -> Tensor:
        """Concatenate the heads of mixed values ``[B, heads, N, d]`` and project; no residual."""
        return self.out(mixed.transpose(1, 2).flatten(2))

    def residual_mlp(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Add mixed values ``[B, heads, N, d]`` to the block's input, then run the MLP."""
        attended = self.project_out(mixed)
        attended = attended if self.scale1 is None else attended * self.scale1
        return self.add_mlp(attended.add_(x))

    join, merge = project_out, residual_mlp  # their names before 0.3

    def add_mlp(self, x: Tensor) -> Tensor:
        """Run the MLP on tokens ``[B, N, width]``, and add its input."""
        normalised = self.norm2(x)
        hidden = self.fc1(normalised)
        if self.gate is not None:
            hidden = F.silu(self.gate(normalised)) * hidden
        elif self.quick_gelu:
            # Computed as a SiLU, in place unless autograd needs its input.
            scaled = hidden.mul_(1.702)
            hidden = F.silu(scaled, inplace=not scaled.requires_grad).div_(1.702)
        else:
            hidden = F.gelu(hidden)
        out = self.fc2(hidden)
        out = out if self.scale2 is None else out * self.scale2
        return out.add_(x)


def attention_logits(q: Tensor, k: Tensor) -> Tensor:
    """``q kᵀ / √d`` of ``[..., N, d]``, scaled before the product to avoid float16 overflow."""
    return (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)


class VisionTransformer(nn.Module):
    """Maps images to tokens: class tokens and registers (the prefix), then N patches, row by row.

    Args:
        width: Channel width of the tokens.
        heads: Number of attention heads of each block.
        depth: Number of blocks.
        hidden: Width of the MLPs' hidden layers.
        patch_size: Side of a patch in pixels.
        positions: Number of position embeddings, including the class token's; 0 for none.
        output_dim: Width of the final projection; None for no projection (DINO).
        class_tokens: Number of class tokens.
        class_position: Whether the class token has a position embedding, the first one.
        registers: Number of register tokens.
        patch_bias: Whether the patch embedding has a bias.
        pre_norm: Whether tokens are normalised before the first block (CLIP).
        final_norm: Whether tokens are normalised after the last block.
        resampling: How position embeddings are resampled to other grids.
        rotary: Rotary positions, with or without position embeddings; None for none.
        quick_gelu, layer_scale, eps, gated: Options of the blocks, see :class:`Block`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        depth: int,
        hidden: int,
        patch_size: int,
        positions: int,
        output_dim: int | None = None,
        class_tokens: int = 1,
        class_position: bool = True,
        registers: int = 0,
        patch_bias: bool = False,
        pre_norm: bool = True,
        final_norm: bool = True,
        resampling: Resampling = Resampling(),  # noqa: B008 - immutable
        rotary: Rotary | None = None,
        quick_gelu: bool = True,
        layer_scale: bool = False,
        eps: float = 1e-5,
        gated: bool = False,
    ):
        super().__init__()

        def table(count: int) -> nn.Parameter | None:
            return nn.Parameter(torch.empty(count, width)) if count else None

        self.width, self.heads, self.patch_size = width, heads, patch_size
        self.output_dim = output_dim or width
        self.num_prefix_tokens = class_tokens + registers
        self.class_position = class_position
        self.resampling, self.rotary = resampling, rotary
        self.patch_embed = nn.Conv2d(3, width, patch_size, patch_size, bias=patch_bias)
        self.class_token, self.registers = table(class_tokens), table(registers)
        self.positions = table(positions)
        self.norm_pre = LayerNorm(width, eps) if pre_norm else nn.Identity()
        self.blocks = module_list(
            Block(width, heads, hidden, quick_gelu, layer_scale, eps, gated) for _ in range(depth)
        )
        self.norm = LayerNorm(width, eps) if final_norm else nn.Identity()
        self.proj = nn.Parameter(torch.empty(width, output_dim)) if output_dim else None

    def forward(self, images: Tensor) -> Tensor:
        """Run the whole tower on images ``[B, 3, H, W]``; for the result see :meth:`read_out`."""
        return self.read_out(self.run(images).x)

    def run(
        self,
        images: Tensor,
        keep: Mapping[int, Collection[str]] | None = None,
        sums: Mapping[str, Collection[int]] | None = None,
        scope: Tensor | None = None,
        each: Callable[[int, BlockTokens], None] | None = None,
        resampling: Resampling | None = None,
    ) -> Tokens:
        """Run the blocks up to the last one from which values are requested, or all of them.

        The last requested block is only run as far as needed: unless its ``output`` is requested,
        the returned tokens are its input.

        Args:
            images: Images ``[B, 3, H, W]``, normalised as in the tower's training.
            keep: Block number, counted from 1 → names of the values to keep, attributes of
                :class:`.tokens.BlockTokens`.
            sums: Name of such a value → blocks over which it is summed.
            scope: Runs R copies of the class token beside the other tokens, which do not attend to
                them, nor they to each other. Patches that each copy attends to in all blocks,
                besides the prefix, bool ``[B, R, N]``.
            each: Called with each block number in ``keep`` and its values instead of keeping them.
            resampling: Resampling rule that overrides the tower's.
        """
        x, grid = self.embed(images, resampling)
        tokens, rope = Tokens(x, grid), self.rope(grid)
        beside = None
        if scope is not None:
            seen = F.pad(scope, (self.num_prefix_tokens, 0), value=True)[:, None]
            beside = x[:, :1].expand(-1, scope.shape[1], -1), seen
        keep, each = keep or {}, each or tokens.blocks.__setitem__
        sums = {name: numbers for name, numbers in (sums or {}).items() if numbers}
        asked = {*keep, *(number for numbers in sums.values() for number in numbers)}
        final = max(asked, default=len(self.blocks))
        for number, block in enumerate(self.blocks[:final], 1):
            kept = keep.get(number, ())
            summed = [name for name, numbers in sums.items() if number in numbers]
            wanted = {*kept, *summed, *(() if beside is None else 'kv')}
            complete = number < final or number not in asked or 'output' in wanted
            x, found = block.forward_intermediates(x, wanted, rope, complete)
            if beside is not None:
                copies, seen = beside
                beside = block.attend(copies, found['k'], found['v'], seen), seen
            if kept:
                each(number, BlockTokens(**{name: found[name] for name in kept}))
            for name in summed:
                _add(tokens.sums, name, found[name])
            del found  # free its memory before the next block
        tokens.x = x
        if beside is not None:
            tokens.copies, _ = beside
        return tokens

    @property
    def device(self) -> torch.device:
        """Device of the tower."""
        return self.patch_embed.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the matrices, see :meth:`set_precision`."""
        return self.patch_embed.weight.dtype

    def grid(self, images: Tensor) -> Grid:
        """Rows and columns of the patches of images ``[..., H, W]``; a remainder is ignored."""
        height, width = images.shape[-2:]
        return height // self.patch_size, width // self.patch_size

    def embed(self, images: Tensor, resampling: Resampling | None = None) -> tuple[Tensor, Grid]:
        """Compute the input of the first block.

        Args:
            images: Images ``[B, 3, H, W]``, normalised as in the tower's training.
            resampling: Resampling rule that overrides the tower's.

        Returns:
            Tokens ``[B, prefix + N, width]``, and the grid's rows and columns.
        """
        grid = self.grid(images)
        x = embed_patches(self.patch_embed, images.to(self.dtype))
        tables = [table for table in (self.class_token, self.registers) if table is not None]
        prefix = [table.to(x.dtype) for table in tables]
        if self.positions is not None:
            own = int(self.class_position)
            rule = resampling or self.resampling
            positions = resample_positions(self.positions.float(), grid, rule, own).to(x.dtype)
            if own:
                prefix[0] = prefix[0] + positions[:1]
            x = x + positions[own:]
        prefix = [table.expand(x.shape[0], -1, -1) for table in prefix]
        return self.norm_pre(torch.cat([*prefix, x], 1)), grid

    def rope(self, grid: Grid, prefix: int | None = None) -> Rope | None:
        """Rotary positions for :meth:`Block.project`; None if the tower has none.

        Args:
            grid: Patch rows and columns.
            prefix: Number of prefix tokens; None for the tower's.
        """
        if self.rotary is None:
            return None
        prefix = self.num_prefix_tokens if prefix is None else prefix
        return make_rope(self.rotary, grid, prefix, self.width // self.heads, self.device)

    def read_out(self, x: Tensor) -> Tensor:
        """Apply the final norm and projection, ``[..., width]`` → ``[..., output_dim]``."""
        x = self.norm(x)
        return x if self.proj is None else x @ self.proj

    def set_precision(self, dtype: torch.dtype) -> None:
        """Cast the matrices, see :func:`cast_matrices`."""
        cast_matrices(self, dtype)


def _add(sums: dict[str, Tensor], name: str, value: Tensor) -> None:
    """Add a value to a sum, in float32."""
    if name in sums:
        sums[name] += value
    else:
        sums[name] = value.to(torch.float32, copy=True)


def embed_patches(conv: nn.Conv2d, images: Tensor) -> Tensor:
    """Apply a convolution whose stride is its kernel size, giving patch tokens ``[B, N, width]``.

    Computed as a matrix product, which unlike cuDNN's convolution does not use TF32 by default.
    """
    side = conv.kernel_size[0]
    # [B, 3, rows, columns, side, side]
    patches = images.unfold(2, side, side).unfold(3, side, side)
    patches = patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    return F.linear(patches, conv.weight.flatten(1), conv.bias)


def matrices(tower: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters that a precision casts: all except LayerNorms and positions.

    Positions are resampled in float32 before they are cast.
    """
    for module in tower.modules():
        if not isinstance(module, LayerNorm):
            for name, parameter in module.named_parameters(recurse=False):
                if name != 'positions':
                    yield parameter


def cast_matrices(tower: nn.Module, dtype: torch.dtype) -> None:
    """Cast the :func:`matrices` of a tower in place."""
    for parameter in matrices(tower):
        parameter.data = parameter.data.to(dtype)


def round_matrices(tower: nn.Module) -> bool:
    """Round a tower's matrices and biases to float16, in which OpenAI publishes CLIP.

    Class token, positions, token embedding and LayerNorms are not rounded, as in openai-clip.

    Returns:
        Whether any value changed.
    """
    matrices = [
        parameter
        for module in tower.modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
        for parameter in module.parameters(recurse=False)
    ]
    if (proj := getattr(tower, 'proj', None)) is not None:
        matrices.append(proj)
    changed = False
    # Allocation takes longer than rounding, so the buffers are reused for all matrices.
    largest = max(parameter.numel() for parameter in matrices)
    halves, floats = (torch.empty(largest, dtype=dtype) for dtype in (torch.half, torch.float))
    for parameter in matrices:
        value, count = parameter.data, parameter.numel()
        half = halves[:count].view_as(value).copy_(value)
        rounded = floats[:count].view_as(value).copy_(half)
        if not rounded.equal(value):
            parameter.data, changed = rounded.clone(), True
    return changed
