"""TCL's trained part: a block, a decoder that quadruples the resolution, and a mask head."""

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...towers import Block, Layout, VisionTransformer
from ...towers.building import Weights
from ...towers.layouts import OPENAI_PARTS, StateDict, check_unread
from ...towers.vit import LayerNorm
from ...utils.errors import InputError

_STAGES = 2  # each doubles the resolution
# The tensors of a TCL file: the masker's; those of a frozen CLIP and of losses are not read.
_KNOWN = re.compile(r'masker\.|clip_\w+_encoder\.|\w*_loss\.')
_STEPS = ('conv', 'conv2')  # the convolutions of a stage, by their names in the file


def attend_to_itself(block: Block, patches: Tensor) -> Tensor:
    """Run a block in which each token ``[B, h, w, width]`` attends only to itself."""
    x = patches.flatten(1, 2)
    _, _, v = block.project(block.norm1(x))
    return block.residual_mlp(x, v).view_as(patches)


class GatedConv(nn.Module):
    """``x + tanh(gate) · conv(GELU(LayerNorm(x)))``.

    Args:
        width: Channel width of the map.
    """

    def __init__(self, width: int):
        super().__init__()
        self.norm = LayerNorm(width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.gate = nn.Parameter(torch.empty(()))

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``[B, h, w, width]``."""
        hidden = F.gelu(self.norm(x)).permute(0, 3, 1, 2)  # in memory as channels_last
        return x + self.gate.tanh() * self.conv(hidden).permute(0, 2, 3, 1)


class Masker(nn.Module):
    """Decodes the input of CLIP's last block to features on a grid four times as fine.

    Args:
        heads: Number of attention heads of the block.
        hidden: Width of the hidden layer of the block's MLP.
        width: Channel width of the tokens.
        output_dim: Channel width of the features.
    """

    def __init__(self, heads: int, hidden: int, width: int, output_dim: int):
        super().__init__()
        self.block = Block(width, heads, hidden)
        self.convs = nn.ModuleList(GatedConv(width) for _ in range(_STAGES * len(_STEPS)))
        self.norm = LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, output_dim))
        self.scale = nn.Parameter(torch.empty(()))
        self.bias = nn.Parameter(torch.empty(()))

    def forward(self, patches: Tensor) -> Tensor:
        """Decode patches ``[B, h, w, width]`` to ``[B, 4h, 4w, output_dim]``, not normalised."""
        x = attend_to_itself(self.block, patches)
        for number, conv in enumerate(self.convs):
            if number % len(_STEPS) == 0:
                x = x.repeat_interleave(2, 1).repeat_interleave(2, 2)
            x = conv(x)
        return self.norm(x) @ self.proj

    def masks(self, cosines: Tensor) -> Tensor:
        """Compute soft masks, 0 to 1, from cosines with the queries, ``[B, Q, h, w]``."""
        return (self.scale.float() * cosines + self.bias.float()).sigmoid()


def load_masker(found: StateDict, tower: VisionTransformer, source: str) -> Masker:
    """Build the masker from a checkpoint's tensors.

    Args:
        found: The tensors; those of CLIP and the losses are not read.
        tower: Image tower of the frozen CLIP.
        source: Name of the checkpoint in error messages.

    Raises:
        InputError: If the file is not a TCL checkpoint, was trained on another CLIP, or has missing
            or unexpected tensors.
    """
    layout = _layout(len(tower.blocks) - 1)
    if not any(key.startswith(layout.prefix) for key in found):
        keys = ', '.join(list(found)[:3]) or 'no tensor at all'
        raise InputError(
            f"{source} is not a TCL checkpoint: it has no '{layout.prefix}…' but {keys}, …"
        )
    check_unread([key for key in found if not _KNOWN.match(key)], source)
    weights = Weights(found, layout, source)
    proj = weights.get('proj', ndim=2)
    fits = proj.shape == (tower.width, tower.output_dim)
    if not fits or 'block.norm1.weight' not in weights:
        raise InputError(
            f'{source} was trained on another CLIP than model.image_encoder.clip, which has '
            f'{len(tower.blocks)} blocks of width {tower.width}: use the one it was trained on '
            '(ViT-B/16)'
        )
    hidden = len(weights.get('block.fc1.weight', ndim=2))
    return weights.fill(lambda: Masker(tower.heads, hidden, *proj.shape))


def _layout(block: int) -> Layout:
    encoder = 'masker.image_encoder.'
    names = {
        'norm': f'{encoder}decoder.image_proj.ln',
        'proj': f'{encoder}decoder.image_proj.proj',
        'scale': 'masker.sim2mask.w',
        'bias': 'masker.sim2mask.b',
    }
    for part, name in OPENAI_PARTS.items():
        names[f'block.{part}'] = f'{encoder}backbone.transformer.resblocks.{block}.{name}'
    steps = [f'{encoder}decoder.decoder.net.{i}.{step}.' for i in range(_STAGES) for step in _STEPS]
    for number, prefix in enumerate(steps):
        for part, name in (('norm', 'norm'), ('conv', 'conv'), ('gate', 'gate.gate')):
            names[f'convs.{number}.{part}'] = prefix + name
    return Layout(names, block='', parts={}, prefix='masker.')
