"""Normalisation of pixels, and conversion from one normalisation to another."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..old_names import keep_old_names
from .vit import VisionTransformer

keep_old_names(__name__, take_images_of='fold_normalisation')

Triple = tuple[float, float, float]


class Normalisation(NamedTuple):
    """``(pixel - mean) / std`` per RGB channel, with pixels from 0 to 1."""

    mean: Triple
    std: Triple

    def is_close(self, other: 'Normalisation') -> bool:
        """Whether both are equal up to rounding."""
        pairs = zip((*self.mean, *self.std), (*other.mean, *other.std))
        return all(abs(one - two) < 1e-4 for one, two in pairs)


#: Normalisation of the encoders' inputs, see ``configs/_base_/models``.
CLIP = Normalisation(
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def renormalisation(old: Normalisation, new: Normalisation) -> tuple[Tensor, Tensor]:
    """Scale and shift ``[3, 1, 1]`` that convert pixels from one normalisation to another."""
    old_mean, old_std, new_mean, new_std = (
        torch.tensor(values)[:, None, None] for values in (*old, *new)
    )
    return old_std / new_std, (old_mean - new_mean) / new_std


def fold_normalisation(tower: VisionTransformer, seen: Normalisation, own: Normalisation) -> None:
    """Let a tower take images with another normalisation than it was trained with.

    The change of normalisation is folded into the weights of the patch embedding.

    Args:
        tower: The tower, in float32, modified in place.
        seen: Normalisation of the images that the tower will be given.
        own: Normalisation that the tower was trained with.
    """
    conv = tower.patch_embed
    scale, shift = renormalisation(seen, own)
    moved = (conv.weight * shift).sum((1, 2, 3))
    bias = moved if conv.bias is None else conv.bias + moved
    conv.weight = nn.Parameter(conv.weight * scale, requires_grad=False)
    conv.bias = nn.Parameter(bias.detach(), requires_grad=False)
