"""A second image tower beside CLIP's, DINO or DINOv2."""

from pathlib import Path
from typing import Sequence

import torch
from torch import Tensor, nn

from .checkpoint import read_tensors, resolve_named
from .layouts import DINO, StateDict, build_image_tower
from .vit import Resampling

#: Name → where Meta publishes its backbone, without a checksum.
PROXIES = {
    name: f'https://dl.fbaipublicfiles.com/{path}'
    for name, path in (
        ('dino_vits16', 'dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth'),
        ('dino_vits8', 'dino/dino_deitsmall8_pretrain/dino_deitsmall8_pretrain.pth'),
        ('dino_vitb16', 'dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth'),
        ('dino_vitb8', 'dino/dino_vitbase8_pretrain/dino_vitbase8_pretrain.pth'),
        ('dinov2_vits14', 'dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth'),
        ('dinov2_vitb14', 'dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth'),
        ('dinov2_vits14_reg', 'dinov2/dinov2_vits14/dinov2_vits14_reg4_pretrain.pth'),
        ('dinov2_vitb14_reg', 'dinov2/dinov2_vitb14/dinov2_vitb14_reg4_pretrain.pth'),
    )
}
# In units of the pixel values that CLIP's are, 0 to 1.
_CLIP_MEAN, _CLIP_STD = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def resolve_proxy(checkpoint: str) -> Path:
    """Return the file behind a name in :data:`PROXIES` or a path, downloading Meta's if needed.

    Downloads go where CLIP's do, see :func:`.checkpoint.resolve_clip`.

    Raises:
        InputError: If ``checkpoint`` is neither a known name nor a file, or the download fails.
    """
    return resolve_named(checkpoint, PROXIES, 'model.image_encoder.proxy.checkpoint')


class ProxyTower(nn.Module):
    """DINO or DINOv2, frozen, which sees what CLIP sees.

    Args:
        checkpoint: A name in :data:`PROXIES`, or the path of a backbone as Meta publishes it.

    Raises:
        InputError: If the checkpoint cannot be used.
    """

    def __init__(self, checkpoint: str):
        super().__init__()
        found = read_tensors(resolve_proxy(checkpoint))
        source = f"proxy.checkpoint='{checkpoint}'"
        self.tower = build_image_tower(found, DINO, source, resampling=_resampling(found))
        scale, shift = _renormalisation()
        self.register_buffer('scale', scale, persistent=False)
        self.register_buffer('shift', shift, persistent=False)

    def normalise(self, images: Tensor) -> Tensor:
        """Change ``[B, 3, H, W]`` from CLIP's normalisation to ImageNet's."""
        return images * self.scale + self.shift

    def forward(self, images: Tensor) -> Tensor:
        """Features of the patches after the final norm.

        Args:
            images: ``[B, 3, H, W]``, normalised for CLIP.

        Returns:
            ``[B, h, w, width]``, on this tower's own grid.
        """
        return self._patches(self.tower(self.normalise(images)), images)

    def queries_and_keys(self, images: Tensor) -> Tensor:
        """Sum of the last block's queries and keys, all heads side by side; else as a call."""
        x, _ = self.tower.embed(self.normalise(images))
        *blocks, last = self.tower.blocks
        for block in blocks:
            x = block(x)
        q, k, _ = last.project(last.norm1(x))
        return self._patches((q + k).transpose(1, 2).flatten(2), images)

    def _patches(self, tokens: Tensor, images: Tensor) -> Tensor:
        return tokens[:, self.tower.num_prefix_tokens :].unflatten(1, self.tower.grid(images))


def _renormalisation():
    """Scale and shift ``[3, 1, 1]`` each."""

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values)[:, None, None]

    scale = column(_CLIP_STD) / column(_IMAGENET_STD)
    return scale, (column(_CLIP_MEAN) - column(_IMAGENET_MEAN)) / column(_IMAGENET_STD)


def _resampling(found: StateDict) -> Resampling:
    """DINOv2 with registers was trained to be resampled to the exact size, with antialias."""
    exact = 'register_tokens' in found
    return Resampling(offset=None, antialias=True) if exact else Resampling()
