"""A second image tower beside CLIP's, such as DINO."""

from typing import Sequence

import torch
from torch import Tensor, nn

from ..utils.errors import InputError
from ..utils.files import find_file
from .towers import DINO, Resampling, build_image_tower, read_tensors

# In units of the pixel values that CLIP's are, 0 to 1.
_CLIP_MEAN, _CLIP_STD = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ProxyTower(nn.Module):
    """DINO or DINOv2, frozen, which sees what CLIP sees.

    Args:
        checkpoint: Path of a backbone as Meta publishes it.

    Raises:
        InputError: If the checkpoint cannot be used.
    """

    def __init__(self, checkpoint: str):
        super().__init__()
        path = find_file(checkpoint)
        if path is None:
            raise InputError(f"proxy.checkpoint='{checkpoint}' does not exist")
        found = read_tensors(path)
        self.tower = build_image_tower(
            found, DINO, f"proxy.checkpoint='{checkpoint}'", resampling=_resampling(found)
        )
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
        tokens = self.tower(self.normalise(images))
        return tokens[:, self.tower.num_prefix_tokens :].unflatten(1, self.tower.grid(images))


def _renormalisation():
    """Scale and shift ``[3, 1, 1]`` each."""

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values)[:, None, None]

    scale = column(_CLIP_STD) / column(_IMAGENET_STD)
    return scale, (column(_CLIP_MEAN) - column(_IMAGENET_MEAN)) / column(_IMAGENET_STD)


def _resampling(found) -> Resampling:
    """DINOv2 with registers was trained to be resampled to the exact size, with antialias."""
    exact = 'register_tokens' in found
    return Resampling(offset=None, antialias=True) if exact else Resampling()
