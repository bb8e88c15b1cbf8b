"""A second image tower beside CLIP's: DINO, DINOv2, DINOv3, RADIO or PE-Spatial."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .building import Weights, build_image_tower
from .layouts import StateDict, check_unread, join_projections, proxy_layout
from .normalisation import CLIP, Normalisation, renormalisation
from .positions import Resampling
from .repository import Checkpoint, Family, Published, find
from .spec import PE_WEIGHTS, TRANSFORMERS, read_second_tower
from .tensor_files import read_tensors
from .vit import VisionTransformer

#: Name → URL of the backbone published by Meta, which has no checksum.
PROXIES = {
    name: Published(f'https://dl.fbaipublicfiles.com/{path}')
    for name, path in (
        ('dino_vits16', 'dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth'),
        ('dino_vits8', 'dino/dino_deitsmall8_pretrain/dino_deitsmall8_pretrain.pth'),
        ('dino_vitb16', 'dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth'),
        ('dino_vitb8', 'dino/dino_vitbase8_pretrain/dino_vitbase8_pretrain.pth'),
        ('dinov2_vits14', 'dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth'),
        ('dinov2_vitb14', 'dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth'),
        ('dinov2_vitl14', 'dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth'),
        ('dinov2_vits14_reg', 'dinov2/dinov2_vits14/dinov2_vits14_reg4_pretrain.pth'),
        ('dinov2_vitb14_reg', 'dinov2/dinov2_vitb14/dinov2_vitb14_reg4_pretrain.pth'),
        ('dinov2_vitl14_reg', 'dinov2/dinov2_vitl14/dinov2_vitl14_reg4_pretrain.pth'),
    )
}
_KEY = 'model.image_encoder.proxy.checkpoint'
_FAMILY = Family(_KEY, PROXIES, read_second_tower, (TRANSFORMERS, PE_WEIGHTS))


def find_proxy(checkpoint: str, key: str = _KEY) -> Checkpoint:
    """Find the checkpoint of a second tower.

    Args:
        checkpoint: A name in :data:`PROXIES`, a name on the Hub, or a path.
        key: Its key in the config, for error messages.

    Raises:
        InputError: If ``checkpoint`` is none of these, or the download fails.
    """
    return find(checkpoint, replace(_FAMILY, key=key))


class SecondTower(NamedTuple):
    """An image tower other than CLIP's.

    Attributes:
        tower: The tower, frozen, in float32 on the CPU.
        normalisation: Normalisation of its training images.
        family: ``'dinov2'`` (also for DINO), ``'dinov3'``, ``'radiov3'`` or ``'pe'``.
    """

    tower: VisionTransformer
    normalisation: Normalisation
    family: str


def load_second_tower(checkpoint: str, key: str = _KEY) -> SecondTower:
    """Load an image tower other than CLIP's.

    Args:
        checkpoint: Name or path, see :class:`ProxyTower`.
        key: Its key in the config, for error messages.

    Raises:
        InputError: If the checkpoint cannot be used.
    """
    weights, spec, _ = find_proxy(checkpoint, key)
    found = join_projections(_bare(read_tensors(weights)))
    source = f"{key.removeprefix('model.image_encoder.')}='{checkpoint}'"
    layout = proxy_layout(found, source)
    check_unread([key for key in found if not layout.owns(key)], source)
    tensors = Weights(found, layout, source)
    options = dict(spec.image) if spec else {}
    if 'registers' in tensors:
        # DINOv2 with registers resamples positions to the exact size, with antialiasing.
        options['resampling'] = Resampling(offset=None, antialias=True)
    tower = build_image_tower(tensors, **options)
    normalisation = (spec and spec.normalisation) or tensors.normalisation()
    return SecondTower(tower, normalisation, layout.family)


class ProxyTower(nn.Module):
    """A frozen vision model that takes CLIP's input images.

    Args:
        checkpoint: A name in :data:`PROXIES`; ``hf:ORG/NAME``, see :mod:`.repository`; or the path
            of a backbone with tensor names of its authors or of Hugging Face.

    Raises:
        InputError: If the checkpoint cannot be used.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, checkpoint: str):
        super().__init__()
        #: The family is its name in the memory banks of CorrCLIP v2.
        self.tower, own, self.family = load_second_tower(checkpoint)
        self.checkpoint = checkpoint
        scale, shift = renormalisation(CLIP, own)
        self.register_buffer('scale', scale, persistent=False)
        self.register_buffer('shift', shift, persistent=False)

    def normalise(self, images: Tensor) -> Tensor:
        """Convert images ``[B, 3, H, W]`` from CLIP's normalisation to this tower's."""
        return images * self.scale + self.shift

    def forward(self, images: Tensor) -> Tensor:
        """Compute patch features, after the final norm if the tower has one.

        Args:
            images: Images ``[B, 3, H, W]``, normalised for CLIP.

        Returns:
            Features ``[B, h, w, width]`` on this tower's grid.
        """
        tokens = self.tower.run(self.normalise(images))
        return self.tower.read_out(tokens.patches).unflatten(1, tokens.grid)

    def see_whole(self, pixels: np.ndarray) -> Tensor:
        """Compute patch features of a whole image, as in CorrCLIP v2.

        Args:
            pixels: Image, RGB, uint8 ``[H, W, 3]``. It is resized to a multiple of the patch size,
                except for PE, which ignores the remainder.

        Returns:
            Features, float32 ``[h, w, width]``.
        """
        mean, std = (torch.tensor(values, device=self.scale.device) for values in CLIP)
        images = torch.tensor(np.ascontiguousarray(pixels), device=self.scale.device)
        images = ((images / 255 - mean) / std).permute(2, 0, 1)[None]
        if self.family != 'pe':
            patch = self.tower.patch_size
            size = [max(round(side / patch), 1) * patch for side in images.shape[-2:]]
            images = F.interpolate(images, size, mode='bilinear', align_corners=False)
        return self(images)[0].float()

    def queries_and_keys(self, images: Tensor) -> Tensor:
        """Sum of the last block's queries and keys, heads concatenated; otherwise as a call.

        Rotary positions are left out, so that similarity depends on the content only.
        """
        last = len(self.tower.blocks)
        tokens = self.tower.run(self.normalise(images), {last: ['normalised']})
        q, k, _ = self.tower.blocks[-1].project(tokens.blocks[last].normalised)
        both = q + k
        return tokens.patches_of(both).transpose(1, 2).flatten(2).unflatten(1, tokens.grid)


def _bare(found: StateDict) -> StateDict:
    """Remove the prefix ``visual.`` of a larger model if all tensors have it (PE)."""
    prefix = 'visual.' * all(key.startswith('visual.') for key in found)
    return {key.removeprefix(prefix): value for key, value in found.items()}
