"""OV-Stitcher (CVPR 2026 Findings, arXiv 2604.08110): CorrCLIP once per image."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ...regions import rank_ids, resize_nearest
from ...registry import METHODS
from ...towers import Grid, VisionTransformer
from ...towers.proxy import ProxyTower
from ...towers.tokens import BlockTokens, OnGrid
from ...utils.torch_types import height_width, total
from ..windowed_image import ImageFeatures, Stitching, WindowedImage
from ..windows import Window
from .base import Classify, WholeImageMethod, unflatten_map
from .corrclip import RegionAttention, spread_copies

_ENTRIES = 1 << 24  # size of a piece of the image's attention map


@METHODS.register_module()
class OVStitcher(RegionAttention, WholeImageMethod):
    """CorrCLIP whose last block attends over the whole image, stitched from its windows.

    The second tower's last block runs over all its patches of the image, and its output gives their
    similarity. Regions are merged, and the mean similarity is taken, once per image. The branches
    of :class:`.corrclip.CorrCLIP` become, on the second tower's grid:

    - main: the last block's values, stitched;
    - spatial: the mean of earlier blocks, each run again on its stitched queries, keys and values,
      with one head over all channels and the scale of a single head;
    - semantic: stitched from the windows' copies of the class token, one copy per region of the
      image and window.

    Weights are computed in pieces, so that memory grows with the number of patches, not with its
    square.

    Args: See :class:`.corrclip.RegionAttention`.
    """

    on_windows = False

    def forward(
        self, tower: VisionTransformer, image: WindowedImage, classify: Classify, proxy: ProxyTower
    ) -> ImageFeatures:
        """See :class:`.base.WholeImageMethod`; features are on the second tower's grid."""
        features, regions, fine = self._see(image, proxy)
        values, semantic = self._encode(tower, image, regions.unflatten(1, fine), proxy)
        width, last = tower.width, tower.blocks[-1]
        mean = mean_similarity(features)
        read = torch.empty(len(features), tower.output_dim, device=features.device)
        for rows in self._pieces(len(features)):
            weights = self._rows(features, regions, mean, rows).to(values.dtype)
            main, spatial = last.out((weights @ values).unflatten(1, (2, width))).unbind(1)
            branches = ((main, 1.0), (spatial, self.spatial), (semantic[rows], self.semantic))
            read[rows] = total(
                factor * tower.read_out(branch) for branch, factor in branches
            ).float()
        return ImageFeatures(read.unflatten(0, fine))

    def attention_map(
        self, tower: VisionTransformer, image: WindowedImage, classify: Classify, proxy: ProxyTower
    ) -> Tensor:
        """See :class:`.base.Method`; on the second tower's grid over the image."""
        features, regions, fine = self._see(image, proxy)
        everything = slice(0, len(features))
        weights = self._rows(features, regions, mean_similarity(features), everything)
        return unflatten_map(weights[None], fine)

    def _see(self, image: WindowedImage, proxy: ProxyTower) -> tuple[Tensor, Tensor, Grid]:
        """Return normalised proxy features, float32 ``[N, C]``, merged regions, and the grid."""
        regions = self.regions_of(image.view)
        tower = proxy.tower
        fine = tower.grid(image.view.images)
        number = len(tower.blocks)
        parts = {
            name: Stitching(fine, tower.patch_size, tower.width, tower.device)
            for name in ('normalised', 'input')
        }
        for windows, view in image.batches():
            tokens = tower.run(proxy.normalise(view.images), {number: list(parts)})
            block = tokens.blocks[number]
            # The released program normalises the residual as well.
            block.input = tower.norm(block.input)
            for name, part in parts.items():
                part.add(windows, on_grid(tokens.patches_of(getattr(block, name)), tokens.grid))
        # Projecting the mean gives the mean of the projections.
        normalised, x = (part.mean().to(tower.dtype)[None] for part in parts.values())
        q, k, v = tower.blocks[-1].project(normalised, tower.rope(fine, prefix=0))
        attended = F.scaled_dot_product_attention(q, k, v)
        features = F.normalize(tower.blocks[-1].residual_mlp(x, attended)[0].float(), dim=-1)
        cells = resize_nearest(regions, fine).flatten(1)
        return features, self.merge(cells, features[None]), fine

    def _encode(
        self, tower: VisionTransformer, image: WindowedImage, regions: Tensor, proxy: ProxyTower
    ) -> tuple[Tensor, Tensor]:
        """Run CLIP on the windows.

        Args:
            tower: CLIP's image tower.
            image: The image with its windows.
            regions: Merged regions on the second tower's grid, ``[1, rows, columns]``.
            proxy: The second tower.

        Returns:
            On the second tower's grid: values of the main and the spatial branch side by side,
            ``[N, 2 * width]``; and the last block's output for the copy of the class token that
            attends to the patch's region, ``[N, width]``.
        """
        fine = height_width(regions)
        coarse = tower.grid(image.view.images)
        depth = len(tower.blocks)
        asked: dict[int, Sequence[str]]
        asked = {number: ('input', 'q', 'k', 'v') for number in self._averaged(depth)}
        asked[depth] = ('v',)
        parts = {
            number: {
                name: Stitching(coarse, tower.patch_size, tower.width, tower.device)
                for name in names
            }
            for number, names in asked.items()
        }
        semantic = Stitching(fine, proxy.tower.patch_size, tower.width, tower.device)
        ranks = rank_ids(regions.flatten(1)).unflatten(1, fine)
        numbers = torch.arange(int(ranks.max()) + 1, device=ranks.device)
        whole = resize_nearest(ranks, height_width(image.view.images))
        for windows, view in image.batches():
            grid = tower.grid(view.images)
            seen = torch.cat([whole[:, w.top : w.bottom, w.left : w.right] for w in windows])
            cells = resize_nearest(seen, grid).flatten(1)
            stitch = partial(_stitch, parts, windows, OnGrid(grid))
            scope = cells[:, None] == numbers[:, None]
            copies = tower.run(view.images, asked, scope=scope, each=stitch).copies
            window_fine = proxy.tower.grid(view.images)
            outputs = spread_copies(copies, cells.unflatten(1, grid), window_fine)
            semantic.add(windows, outputs.unflatten(1, window_fine))
        levels = [self._again(tower, number, parts.pop(number)) for number in list(parts)[:-1]]
        _, _, spatial = tower.blocks[-1].project(tower.blocks[-1].norm1(sum(levels) / len(levels)))
        main = parts[depth]['v'].mean().to(tower.dtype)
        values = torch.cat([main, spatial[0].transpose(0, 1).flatten(1)], 1)
        values = values.T[None].unflatten(2, coarse)
        values = F.interpolate(values, fine, mode='bilinear', align_corners=False)
        return values[0].flatten(1).T, semantic.mean().to(tower.dtype)

    def _again(self, tower: VisionTransformer, number: int, parts: dict) -> Tensor:
        """Run a block again on the stitched image and return its output, ``[1, N, width]``."""
        x, q, k, v = (parts[name].mean().to(tower.dtype)[None] for name in ('input', 'q', 'k', 'v'))
        scale = (tower.width // tower.heads) ** -0.5
        mixed = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], scale=scale)
        return tower.blocks[number - 1].residual_mlp(x, mixed)

    def _rows(self, features: Tensor, regions: Tensor, mean: Tensor, rows: slice) -> Tensor:
        """Compute rows of the map of all heads, float32 ``[n, N]``."""
        similarity = (features[rows] @ features.T)[None]
        return self.weigh(similarity, mean[None, None, None], regions, rows)[0]

    @staticmethod
    def _pieces(count: int) -> list[slice]:
        step = max(_ENTRIES // count, 1)
        return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def mean_similarity(features: Tensor) -> Tensor:
    """Compute the mean of all products of features ``[N, C]`` without storing them."""
    total = features.double().sum(0)
    return ((total @ total) / len(features) ** 2).float()


def on_grid(x: Tensor, grid: Grid) -> Tensor:
    """Reshape ``[n, N, C]`` or ``[n, heads, N, d]`` to ``[n, h, w, C]``, heads side by side."""
    x = x.transpose(1, 2).flatten(2) if x.ndim == 4 else x
    return x.unflatten(1, grid)


def _stitch(
    parts: dict, windows: list[Window], tokens: OnGrid, number: int, block: BlockTokens
) -> None:
    for name, part in parts[number].items():
        part.add(windows, on_grid(tokens.patches_of(getattr(block, name)), tokens.grid))
