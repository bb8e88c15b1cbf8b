"""Seeded weights with the sizes of released ones."""

from pathlib import Path

import torch

from sclip_mmseg.towers import DINO, VisionTransformer
from sclip_mmseg.utils.compat import openai_clip


def write_seeded_clip(path: Path) -> None:
    """Write a CLIP of ViT-B/16's sizes with seeded weights."""
    torch.manual_seed(0)
    clip = openai_clip('model').CLIP(512, 224, 12, 768, 16, 77, 49408, 512, 8, 12)
    torch.save(clip.half().state_dict(), path)


def write_seeded_dino(path: Path, patch_size: int) -> None:
    """Write a DINO of ViT-B's sizes with seeded random weights and Meta's names.

    With a patch size of 14, it is a DINOv2 with registers.
    """
    torch.manual_seed(0)
    sizes = dict(width=768, heads=12, depth=12, hidden=3072, patch_size=patch_size)
    more = dict(registers=4, layer_scale=True) if patch_size == 14 else {}
    sizes['positions'] = 1 + ((518 if more else 224) // patch_size) ** 2
    tower = VisionTransformer(**sizes, patch_bias=True, pre_norm=False, **more)
    for name, parameter in tower.named_parameters():
        if name in ('class_token', 'positions', 'registers') or 'scale' in name:
            torch.nn.init.normal_(parameter, std=0.02)
    torch.save({DINO.name_of(name): value for name, value in tower.state_dict().items()}, path)


def write_seeded_upsampler(path: Path) -> None:
    """Write a SimFeatUp with the sizes of the released one and seeded random weights."""
    torch.manual_seed(0)
    state = {f'up.{name}': torch.rand(()) for name in ('range_temp', 'sigma_spatial')}
    for name, shape in (
        ('up.range_proj.0', (32, 3)),
        ('up.range_proj.3', (32, 32)),
        ('up.fixup_proj.0', (121, 124)),
        ('up.fixup_proj.3', (121, 121)),
        ('fixup_proj.1', (512, 512)),
    ):
        state[f'{name}.weight'] = torch.randn(*shape, 1, 1) * shape[1] ** -0.5
        state[f'{name}.bias'] = torch.zeros(shape[0])
    torch.save(state, path)
