"""CorrCLIP (Zhang et al., ICCV 2025, arXiv 2411.10086): attention within regions; versions 1, 2."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...old_names import keep_old_names
from ...regions import rank_ids, resize_nearest
from ...registry import METHODS
from ...towers import Grid, VisionTransformer
from ...towers.proxy import ProxyTower
from ...utils.errors import InputError
from ...utils.torch_types import is_exporting
from ..view import View
from ..windowed_image import WindowedImage, WindowFeatures
from .base import Classify, Method, unflatten_map
from .proxyclip import mix_values, pairwise_cosines

keep_old_names(__name__, WithinRegions='RegionAttention')
# Depth → first and last block, counted from 1, that the spatial branch averages.
_AVERAGED = {12: (6, 10), 24: (11, 22)}


class RegionAttention(Method):
    """Attention within regions, weighted by the similarity of a second model's patches.

    Similar regions are merged (:func:`merge_regions`). A patch attends to the patches of its
    region. If one of two patches lies outside all regions, which the lowest id marks, they attend
    to each other if their similarity exceeds the mean. Every patch attends to itself, so that rows
    are never empty.

    Args:
        sharpness: Factor on the similarities before the softmax.
        merge_distance: Cosine distance up to which regions are merged; None for no merging.
        spatial, semantic: Weights of the branches.
        blocks: Blocks, counted from 1, that the spatial branch averages. None for the published
            ones: 6 to 10 of 12, 11 to 22 of 24; for other depths, from 3 to the third last.

    Raises:
        InputError: If an argument is negative.
    """

    needs_proxy = True
    needs_regions = True

    def __init__(
        self,
        sharpness: float = 4.0,
        merge_distance: float | None = 0.2,
        spatial: float = 1.0,
        semantic: float = 0.5,
        blocks: Sequence[int] | None = None,
    ):
        super().__init__()
        numbers = dict(
            sharpness=sharpness, merge_distance=merge_distance, spatial=spatial, semantic=semantic
        )
        for name, value in numbers.items():
            if value is not None and value < 0:
                raise InputError(f'model.image_encoder.method.{name}={value} must not be negative')
        self.sharpness, self.merge_distance = sharpness, merge_distance
        self.spatial, self.semantic, self.blocks = spatial, semantic, blocks

    def check(self, tower: VisionTransformer) -> None:
        """See :class:`.base.Method`."""
        depth = len(tower.blocks)
        blocks = self._averaged(depth)
        if not blocks or any(not 1 <= block < depth for block in blocks):
            raise InputError(
                f'{type(self).__name__} cannot average the blocks {blocks} of {depth}: set '
                'model.image_encoder.method.blocks to blocks before the last, counted from 1'
            )

    def regions_of(self, view: View) -> Tensor:
        """Return the regions ``[B, H, W]`` of a view.

        Raises:
            InputError: If the view has no regions; or under ``torch.export``, since tensor shapes
                depend on the number of regions.
        """
        if is_exporting():
            raise InputError(
                f'{type(self).__name__} cannot be exported: its tensor shapes depend on the number '
                'of regions in each image; export a method that needs no regions'
            )
        if view.regions is None:
            raise InputError(
                f'{type(self).__name__} needs the regions of each image: set model.region_masks, '
                'and segment images from files'
            )
        return view.regions

    def merge(self, regions: Tensor, features: Tensor) -> Tensor:
        """Merge regions by :func:`merge_regions`; without merging, only number them."""
        if self.merge_distance is None:
            return rank_ids(regions)
        return merge_regions(regions, features, self.merge_distance)

    def weigh(self, similarity: Tensor, mean: Tensor, regions: Tensor, rows: slice) -> Tensor:
        """Compute some rows of the attention map that all heads share.

        Args:
            similarity: These rows of the similarities, float32 ``[B, n, N]``; changed in place.
            mean: Mean of all similarities, ``[B, 1, 1]``.
            regions: Region ids of all patches ``[B, N]``, 0 for patches outside all regions.
            rows: Indices of the rows.

        Returns:
            Weights, float32 ``[B, n, N]``; rows sum to 1.
        """
        own, unknown = regions[:, rows, None], regions[:, None] == 0
        allowed = similarity > mean
        allowed &= (own == 0) | unknown
        allowed |= (own == regions[:, None]) & ~unknown
        allowed.diagonal(rows.start, dim1=1, dim2=2).fill_(True)
        logits = similarity.mul_(self.sharpness)
        return logits.masked_fill_(~allowed, -float('inf')).softmax(-1)

    def _averaged(self, depth: int) -> list[int]:
        if self.blocks is not None:
            return sorted(set(self.blocks))
        first, final = _AVERAGED.get(depth, (3, depth - 2))
        return list(range(first, final + 1))


@METHODS.register_module()
class CorrCLIP(RegionAttention):
    """CLIP's values, mixed within regions by the similarity of a second model's queries and keys.

    Regions, their lowest id and the mean similarity are those of the window, see
    :class:`RegionAttention`. Features are the sum of three branches on the second model's grid:

    - main: the last block's values, mixed;
    - spatial: values computed from the mean of earlier blocks' outputs, mixed;
    - semantic: the class token, attending only to one region. One copy per region runs through all
      blocks beside the other tokens, which do not attend to it.

    Args: See :class:`RegionAttention`.
    """

    def forward(
        self, tower: VisionTransformer, view: View, classify: Classify, proxy: ProxyTower
    ) -> Tensor:
        """See :class:`.base.Method`; features are on the second tower's grid."""
        return self.mix(tower, view, *self._weigh(view, proxy))

    def mix(
        self, tower: VisionTransformer, view: View, weights: Tensor, regions: Tensor, fine: Grid
    ) -> Tensor:
        """Run CLIP on windows and sum the branches, ``[B, h, w, D]``.

        Args:
            tower: CLIP's image tower.
            view: The windows.
            weights: Attention map of all heads, ``[B, N, N]``.
            regions: Region ids ``[B, N]``, 0 for patches outside all regions.
            fine: Rows and columns of the N patches.
        """
        grid = tower.grid(view.images)
        cells = resize_nearest(regions.unflatten(1, fine), grid).flatten(1)
        cells = rank_ids(cells)
        numbers = torch.arange(int(cells.max()) + 1, device=cells.device)
        depth = len(tower.blocks)
        averaged = self._averaged(depth)
        tokens = tower.run(
            view.images,
            {depth: ['input']},
            sums={'output': averaged},
            scope=cells[:, None] == numbers[:, None],
        )

        levels = (tokens.sums['output'] / len(averaged)).to(tokens.x)
        main, spatial = (
            mix_values(tower.blocks[-1], patches, grid, weights, fine)
            for patches in (tokens.patches, tokens.patches_of(levels))
        )
        # In an image with fewer regions, the remaining copies only attend to the class token.
        semantic = spread_copies(tokens.copies, cells.unflatten(1, grid), fine)
        read = tower.read_out
        sum_ = read(main) + self.spatial * read(spatial) + self.semantic * read(semantic)
        return sum_.unflatten(1, fine)

    def attention_map(
        self, tower: VisionTransformer, view: View, classify: Classify, proxy: ProxyTower
    ) -> Tensor:
        """See :class:`.base.Method`; on the second tower's grid."""
        weights, _, grid = self._weigh(view, proxy)
        return unflatten_map(weights, grid)

    def _weigh(self, view: View, proxy: ProxyTower) -> tuple[Tensor, Tensor, Grid]:
        """Return the map of all heads, the merged regions ``[B, N]``, and the grid of N."""
        regions = self.regions_of(view)
        features = proxy.queries_and_keys(view.images)
        _, rows, columns, _ = features.shape
        grid = rows, columns
        features = F.normalize(features.flatten(1, 2).float(), dim=-1)
        regions = self.merge(resize_nearest(regions, grid).flatten(1), features)
        return self.weights(features, regions), regions, grid

    def weights(self, features: Tensor, regions: Tensor) -> Tensor:
        """Compute the attention map that all heads share.

        Args:
            features: L2-normalised features, float32 ``[B, N, C]``.
            regions: Region ids ``[B, N]``, 0 for patches outside all regions.

        Returns:
            Weights, float32 ``[B, N, N]``; rows sum to 1.
        """
        similarity = features @ features.transpose(1, 2)
        mean = similarity.mean((1, 2), keepdim=True)
        return self.weigh(similarity, mean, regions, slice(0, len(features[0])))


@METHODS.register_module()
class CorrCLIPv2(CorrCLIP):
    """Version 2: the second model encodes the whole image once, at the size of its file.

    Its features are resized to the working size, then to twice CLIP's grid in each window. The
    published configs do not merge regions.

    Args: See :class:`RegionAttention`.
    """

    sees_whole_image = True

    def forward(  # type: ignore[override]  # an image in place of a view
        self, tower: VisionTransformer, image: WindowedImage, classify: Classify, proxy: ProxyTower
    ) -> WindowFeatures:
        """See :class:`.base.WholeImageMethod`."""
        parts = [self.mix(tower, *each) for each in self._weigh_each(tower, image, proxy)]
        return WindowFeatures(torch.cat(parts))

    def attention_map(  # type: ignore[override]
        self, tower: VisionTransformer, image: WindowedImage, classify: Classify, proxy: ProxyTower
    ) -> Tensor:
        """See :class:`.base.Method`; on twice CLIP's grid, of a single window."""
        [(_, weights, _, grid)] = self._weigh_each(tower, image, proxy)
        return unflatten_map(weights, grid)

    def _weigh_each(
        self, tower: VisionTransformer, image: WindowedImage, proxy: ProxyTower
    ) -> Iterator[tuple[View, Tensor, Tensor, Grid]]:
        """Yield batches of windows, the map of all heads, regions ``[B, N]``, and the grid of N."""
        seen = image.pixel_features(image.file.map_of(proxy))
        margins = image.windows.margins
        for windows, view in image.batches():
            rows, columns = tower.grid(view.images)
            fine = 2 * rows, 2 * columns
            cells = torch.stack([seen.cells(window, margins, fine) for window in windows])
            features = F.normalize(cells.flatten(1, 2), dim=-1)
            regions = resize_nearest(self.regions_of(view), fine).flatten(1)
            regions = self.merge(regions, features)
            yield view, self.weights(features, regions), regions, fine


def spread_copies(copies: Tensor, cells: Tensor, grid: Grid) -> Tensor:
    """Give each patch the copy of the class token for its region.

    Args:
        copies: Outputs of the copies, ``[B, regions, D]``.
        cells: Copy of each patch, ``[B, h, w]``.
        grid: Rows and columns of M, to which the cells are resized.

    Returns:
        The outputs, ``[B, M, D]``.
    """
    parents = resize_nearest(cells, grid).flatten(1)
    return copies.gather(1, parents[..., None].expand(-1, -1, copies.shape[-1]))


def merge_regions(regions: Tensor, features: Tensor, distance: float) -> Tensor:
    """Merge the regions of a window whose mean features are similar, transitively.

    Two regions are linked if their cosine is at most ``distance`` below the largest cosine of all
    pairs, where a region also pairs with itself. The lowest id of a window is never merged.

    Args:
        regions: Region ids ``[B, N]``.
        features: L2-normalised features, float32 ``[B, N, C]``.
        distance: Cosine distance, 0 to 2.

    Returns:
        Ids ``[B, N]``: 0 for the lowest id, else the rank of the lowest id merged into the region.
    """
    ranks = rank_ids(regions)
    count = int(ranks.max()) + 1
    number = torch.arange(count, device=ranks.device)
    members = (ranks[:, None] == number[:, None]).to(features.dtype)  # [B, regions, N]
    cosines = pairwise_cosines(members @ features)  # sums have the same cosines as means
    # The regions that the window has, except the lowest.
    present = (number > 0) & (number <= ranks.amax(1, keepdim=True))
    pairs = present[:, :, None] & present[:, None]
    best = cosines.masked_fill(~pairs, -float('inf')).amax((1, 2), keepdim=True)
    linked = (best - cosines <= distance) & pairs
    linked |= torch.eye(count, dtype=torch.bool, device=ranks.device)
    # The transitive closure: each product doubles the length of chains.
    for _ in range((count - 1).bit_length()):
        linked = (linked.float() @ linked.float()) > 0
    return linked.int().argmax(-1).gather(1, ranks)
