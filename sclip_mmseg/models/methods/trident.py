"""Trident (Shi et al., ICCV 2025, arXiv 2411.09219): windows spliced, then guided by SAM."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...registry import METHODS
from ...towers import VisionTransformer
from ...towers.proxy import ProxyTower
from ...towers.sam import PATCH, SIDE, SamImage, SamTower
from ...utils.errors import InputError
from ..windowed_image import ImageFeatures, Stitching, WindowedImage
from ..windows import Size
from .base import Classify, WholeImageMethod, unflatten_map
from .proxyclip import ProxyAttention, mix_values

_REPLACED, _LARGEST = 0.6, 0.9  # thresholds
_ROWS = 512  # rows of the guidance computed at a time


@METHODS.register_module()
class Trident(ProxyAttention, WholeImageMethod):
    """ProxyCLIP's features of the windows, spliced, and mixed by SAM's attention over the image.

    1. Windows are encoded as in :class:`.proxyclip.ProxyCLIP`, but with the mean cosine over all
       windows of the image. Features before the final norm are placed on one grid.
    2. SAM's last attention over the whole image mixes them on SAM's grid. It is limited to tokens
       within the image, and to pairs whose values have a cosine above the token's threshold:
       ``cos_fac`` times the token's mean cosine over heads and tokens, at most 0.9. The mean over
       heads is normalised so that rows sum to 1.

    Args:
        beta, gamma: See :class:`.proxyclip.ProxyAttention`.
        cos_fac: Factor of the threshold.
        keep_negative: Whether a negative threshold is kept; else it becomes 0.6.
        halves: Whether SAM encodes the left and the right half of the image separately
            (Cityscapes).

    Raises:
        InputError: If an argument is negative.
    """

    needs_sam = True
    on_windows = False

    def __init__(
        self,
        beta: float = 1.2,
        gamma: float = 3.0,
        cos_fac: float = 1.2,
        keep_negative: bool = True,
        halves: bool = False,
    ):
        super().__init__(beta, gamma)
        if cos_fac < 0:
            raise InputError(f'model.image_encoder.method.cos_fac={cos_fac} must not be negative')
        self.cos_fac, self.keep_negative, self.halves = cos_fac, keep_negative, halves

    def working_size(self, tower: VisionTransformer, size: Size, crop_size: Size) -> Size:
        """See :class:`.base.Method`: whole patches, and at least a window."""
        patch, longest = tower.patch_size, max(size)
        if all(s % patch == 0 and s >= crop for s, crop in zip(size, crop_size)):
            return size
        target = _up(longest, patch)
        height, width = (
            max(_up(side * target // longest, patch), _up(crop, patch))
            for side, crop in zip(size, crop_size)
        )
        return height, width

    def forward(
        self,
        tower: VisionTransformer,
        image: WindowedImage,
        classify: Classify,
        proxy: ProxyTower,
        sam: SamTower,
    ) -> ImageFeatures:
        """See :class:`.base.WholeImageMethod`; features are on SAM's grid."""
        canvas = self._splice(tower, image, proxy)
        parts = canvas.tensor_split([canvas.shape[1] // 2], 1) if self.halves else [canvas]
        mixed = []
        for encoded, part in zip(self._see(image, sam), parts):
            coarse = part.permute(2, 0, 1)[None].float()
            values = F.interpolate(coarse, encoded.grid, mode='bilinear', align_corners=False)
            values = values[0].flatten(1).T
            count = len(values)
            rows = torch.arange(count, device=values.device).split(_ROWS)
            guided = torch.cat([self.guidance(sam, encoded, each) @ values for each in rows])
            mixed.append(guided.unflatten(0, encoded.grid))
        features = torch.cat(mixed, 1).to(tower.dtype)
        return ImageFeatures(tower.read_out(features), direct=True)

    def attention_map(
        self,
        tower: VisionTransformer,
        image: WindowedImage,
        classify: Classify,
        proxy: ProxyTower,
        sam: SamTower,
    ) -> Tensor:
        """See :class:`.base.Method`; the guidance, on SAM's grid."""
        [encoded] = self._see(image, sam, halves=False)
        rows = torch.arange(encoded.grid[0] * encoded.grid[1], device=sam.device).split(_ROWS)
        weights = torch.cat([self.guidance(sam, encoded, each) for each in rows])
        return unflatten_map(weights[None], encoded.grid)

    def _splice(self, tower: VisionTransformer, image: WindowedImage, proxy: ProxyTower) -> Tensor:
        """Mean of the windows' features on the image's grid of patches, ``[h, w, width]``."""
        seen = [proxy(view.images).flatten(1, 2) for _, view in image.batches()]
        unit = F.normalize(torch.cat(seen).double(), dim=-1)
        mean = (unit.sum(1).square().sum(1) / unit.shape[1] ** 2).mean()  # of all pairs
        grid = tower.grid(image.view.images)
        stitching = Stitching(grid, tower.patch_size, tower.width, tower.device)
        depth, last = len(tower.blocks), tower.blocks[-1]
        for (windows, view), features in zip(image.batches(), seen):
            weights = self.weights(features, mean.float())
            tokens = tower.run(view.images, {depth: ('input',)})
            fine = proxy.tower.grid(view.images)
            mixed = mix_values(last, tokens.patches, tokens.grid, weights, fine)
            maps = mixed.transpose(1, 2).unflatten(2, fine)
            if fine != tokens.grid:
                maps = F.interpolate(maps, tokens.grid, mode='bilinear', align_corners=False)
            stitching.add(windows, maps.permute(0, 2, 3, 1))
        return stitching.mean().unflatten(0, grid)

    def _see(
        self, image: WindowedImage, sam: SamTower, halves: bool = True
    ) -> tuple[SamImage, ...]:
        """The images that SAM encodes: the image, or its halves."""
        if self.halves and halves:
            return image.file.encode(sam, 'left'), image.file.encode(sam, 'right')
        return (image.file.encode(sam, 'whole'),)

    def guidance(self, sam: SamTower, encoded: SamImage, rows: Tensor) -> Tensor:
        """Rows of the map that mixes features on SAM's grid.

        Args:
            sam: SAM.
            encoded: SAM's encoding of the image.
            rows: Numbers of tokens of the grid of N, row by row.

        Returns:
            float32 ``[n, N]``; rows sum to 1.
        """
        height, width = encoded.grid
        valid = torch.arange(height, device=rows.device)[:, None] * (SIDE // PATCH)
        valid = (valid + torch.arange(width, device=rows.device)).flatten()
        values = F.normalize(encoded.v[:, valid], dim=-1)
        own = values[:, rows]
        threshold = self.cos_fac * (own * values.mean(1, keepdim=True)).sum(-1).mean(0)
        if not self.keep_negative:
            threshold = threshold.masked_fill(threshold < 0, _REPLACED)
        threshold = threshold.clamp_max(_LARGEST)[:, None]
        total = torch.zeros(len(rows), len(valid), device=rows.device)
        for head in range(len(values)):
            weights = sam.attention(encoded, head, valid[rows])[:, valid]
            total += weights.masked_fill_(own[head] @ values[head].T <= threshold, 0)
        return total / total.sum(1, keepdim=True)


def _up(side: int, multiple: int) -> int:
    """The smallest multiple that is not below."""
    return -(-side // multiple) * multiple
