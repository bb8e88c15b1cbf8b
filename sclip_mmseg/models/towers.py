"""State dict in OpenAI's layout → openai-clip's modules, without a random initialisation.

As openai-clip's ``build_model`` does, matrices are rounded to float16, in which OpenAI publishes
them, and computed with in float32 afterwards.
"""

from typing import Optional

import torch
from torch import Tensor, nn

from ..utils.compat import openai_clip
from ..utils.errors import InputError
from .checkpoint import StateDict

# Width of an image tower → width of its heads, where this is not 64: OpenCLIP's ViT-H.
_HEAD_WIDTHS = {1280: 80}


def build_image_tower(state_dict: StateDict, source: str, quick_gelu: bool = True) -> nn.Module:
    """Build the ViT image tower whose sizes the tensors tell.

    Args:
        state_dict: CLIP in OpenAI's layout.
        source: What to call the checkpoint in an error message.
        quick_gelu: OpenAI's activation; False for the exact GELU of most OpenCLIP checkpoints.

    Returns:
        openai-clip's ``VisionTransformer`` with the checkpoint's weights.

    Raises:
        InputError: If tensors are missing, superfluous or of unexpected shape.
    """
    weights = {
        key.removeprefix('visual.'): value
        for key, value in state_dict.items()
        if key.startswith('visual.')
    }
    width, _, patch_size, _ = weights['conv1.weight'].shape
    positions, projection = weights.get('positional_embedding'), weights.get('proj')
    if positions is None or projection is None:
        raise InputError(f"{source} lacks 'visual.positional_embedding' or 'visual.proj'")
    side = round((len(positions) - 1) ** 0.5)
    with torch.device('meta'):
        tower = openai_clip('model').VisionTransformer(
            input_resolution=side * patch_size,
            patch_size=patch_size,
            width=width,
            layers=_count_blocks(weights),
            heads=width // _HEAD_WIDTHS.get(width, 64),
            output_dim=projection.shape[1],
        )
    return _fill(tower, weights, source, quick_gelu)


class TextTower(nn.Module):
    """CLIP's text transformer for prompts of any length up to the checkpoint's context length.

    Under the causal mask, tokens behind the end-of-text token change nothing before it, so prompts
    may be cut after the longest one.

    Args:
        context_length: Largest number of tokens of a prompt.
        vocab_size: Number of tokens known.
        width: Width of the transformer; it has ``width // 64`` heads.
        layers: Number of blocks.
        output_dim: Width of the joint embedding.
    """

    def __init__(
        self, context_length: int, vocab_size: int, width: int, layers: int, output_dim: int
    ):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        self.transformer = openai_clip('model').Transformer(width, layers, max(width // 64, 1))
        self.ln_final = openai_clip('model').LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, output_dim))

    @property
    def context_length(self) -> int:
        """Largest number of tokens of a prompt."""
        return len(self.positional_embedding)

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode tokenised prompts.

        Args:
            tokens: int64 ``[B, L]``, zeros behind each end-of-text token, which has the largest id.

        Returns:
            Embeddings ``[B, D]``, not normalised.
        """
        length = tokens.shape[1]
        mask = torch.full((length, length), float('-inf'), device=tokens.device).triu(1)
        for block in self.transformer.resblocks:
            block.attn_mask = mask
        x = self.token_embedding(tokens) + self.positional_embedding[:length]
        x = self.transformer(x.transpose(0, 1)).transpose(0, 1)
        end = tokens.argmax(dim=1)
        x = self.ln_final(x[torch.arange(len(x), device=x.device), end])
        return x @ self.text_projection


def build_text_tower(state_dict: StateDict, source: str, quick_gelu: bool = True) -> TextTower:
    """Build the text tower whose sizes the tensors tell; arguments as :func:`build_image_tower`.

    Raises:
        InputError: If the checkpoint has no text tower, or not a whole one.
    """
    weights = {
        key: value
        for key, value in state_dict.items()
        if not key.startswith('visual.') and key not in ('logit_scale', 'logit_bias')
    }
    sizes = [
        weights.get(key)
        for key in ('positional_embedding', 'token_embedding.weight', 'text_projection')
    ]
    if any(tensor is None for tensor in sizes):
        raise InputError(
            f'{source} has no text tower to encode the class names: use a whole CLIP, or give '
            'text_head.embeddings=FILE.npz (see tools/extract_text_embeddings.py)'
        )
    positions, tokens, projection = sizes
    with torch.device('meta'):
        tower = TextTower(
            context_length=len(positions),
            vocab_size=len(tokens),
            width=tokens.shape[1],
            layers=_count_blocks(weights),
            output_dim=projection.shape[1],
        )
    return _fill(tower, weights, source, quick_gelu)


def _count_blocks(weights: StateDict) -> int:
    return sum(key.endswith('.attn.in_proj_weight') for key in weights)


def _fill(tower: nn.Module, weights: StateDict, source: str, quick_gelu: bool) -> nn.Module:
    problem = _mismatch(tower.state_dict(), weights)
    if problem:
        raise InputError(f'{source} is not a whole CLIP with a ViT image tower: {problem}')
    tower.load_state_dict(weights, assign=True)
    openai_clip('model').convert_weights(tower)
    tower.float()
    if not quick_gelu:
        for block in tower.transformer.resblocks:
            block.mlp.gelu = nn.GELU()
    return tower.requires_grad_(False).eval()


def _mismatch(expected: StateDict, found: StateDict) -> Optional[str]:
    for title, keys in (
        ('missing', expected.keys() - found.keys()),
        ('unexpected', found.keys() - expected.keys()),
    ):
        if keys:
            return f'{len(keys)} {title} tensors, among them {sorted(keys)[0]}'
    for key, value in expected.items():
        if value.shape != found[key].shape:
            return f'{key} is {tuple(found[key].shape)}, expected {tuple(value.shape)}'
    return None
