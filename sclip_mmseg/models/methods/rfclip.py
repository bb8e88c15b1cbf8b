"""RF-CLIP, *Target Refocusing via Attention Redistribution* (2511.16170), as released."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...registry import METHODS
from ...towers import Grid, VisionTransformer, attention_logits
from ...utils.errors import InputError
from ...utils.torch_types import total
from ..windowed_image import AdjustedQueries, WindowedImage, WindowFeatures
from .base import Classify, WholeImageMethod, unflatten_map
from .proxyclip import pairwise_cosines
from .scclip import sum_around

#: Channels, counted from 0, that are large in sinks, by width and patch size of the tower.
CHANNELS = {
    (768, 16): (4, 162, 189, 326, 429, 474, 633, 713),
    (1024, 14): (250, 261, 437, 650, 720, 779, 936, 1005),
}
_STRONG = 5  # a large channel, as a multiple of the mean over the patch's channels
_KEPT = 0.6  # share of a sink that is kept


@METHODS.register_module()
class RFCLIP(WholeImageMethod):
    """Denoises patches after each block, mixes them by the keys of all blocks, and adjusts texts.

    1. After each block, sinks become 0.6 of themselves plus 0.4 of the mean over the 3 × 3 patches
       around them, with zeros beyond the border. A *sink* is a patch in which one of ``channels``
       exceeds five times the mean of all channels, all measured from the smallest channel.
    2. G is the mean of all blocks' outputs, and S the cosines of its patches, with those below
       ``threshold`` set to 0. The last attention runs on the last block's input and on G, both with
       patches multiplied by S. Its map is the mean over blocks of ``softmax(k kᵀ / √d)``, without
       residual and MLP.
    3. Queries within ``group_distance`` of each other (complete linkage) form a group. In each
       window, the query of a group that is nearest to the image's class token moves by
       ``patch_weight`` towards the mean of its two nearest patches.
    4. A patch's score is ``1 - global_weight`` times its cosine with the moved query, plus
       ``global_weight`` times the cosine of the class token with the original query.

    Args:
        global_weight: Weight of the class token's cosine, 0 to 1.
        patch_weight: Share of the nearest patches in a moved query, 0 to 1.
        group_distance: Largest cosine distance within a group, at least 0.
        global_from: Class token that queries are compared with: of the whole ``'image'``, or of
            each ``'window'``.
        channels: Channels, counted from 0, that are large in sinks; None for the known channels of
            CLIP's ViT-B/16 and ViT-L/14.
        threshold: Smallest similarity that counts, at least 0 and below 1.

    Raises:
        InputError: If a value is out of range.
    """

    def __init__(
        self,
        global_weight: float = 0.25,
        patch_weight: float = 0.04,
        group_distance: float = 0.09,
        global_from: str = 'image',
        channels: Sequence[int] | None = None,
        threshold: float = 0.4,
    ):
        super().__init__()
        for name, value in dict(global_weight=global_weight, patch_weight=patch_weight).items():
            if not 0 <= value <= 1:
                raise InputError(f'method.{name}={value} must be between 0 and 1')
        if not group_distance >= 0:
            raise InputError(f'method.group_distance={group_distance} must not be negative')
        if global_from not in ('image', 'window'):
            raise InputError(f"method.global_from={global_from!r} must be 'image' or 'window'")
        if not 0 <= threshold < 1:
            raise InputError(f'method.threshold={threshold} must be at least 0 and below 1')
        if channels is not None and (
            not isinstance(channels, (list, tuple))
            or not channels
            or not all(isinstance(channel, int) and channel >= 0 for channel in channels)
        ):
            raise InputError(f'method.channels={channels!r} must be a list of integers from 0')
        self.global_weight, self.patch_weight = global_weight, patch_weight
        self.group_distance, self.global_from = group_distance, global_from
        self.channels, self.threshold = channels, threshold
        self._grouped: tuple[Tensor, Tensor] | None = None

    def channels_of(self, tower: VisionTransformer) -> Sequence[int]:
        """Return the channels that are large in a tower's sinks.

        Raises:
            InputError: If they are not known, or the tower does not have one of them.
        """
        chosen = self.channels or CHANNELS.get((tower.width, tower.patch_size))
        if chosen is None:
            raise InputError(
                'RFCLIP knows the channels of sinks only for CLIP ViT-B/16 and ViT-L/14, but the '
                f'tower has width {tower.width} and patches of {tower.patch_size}: set '
                'model.image_encoder.method.channels'
            )
        if max(chosen) >= tower.width:
            raise InputError(
                f'model.image_encoder.method.channels={list(chosen)}: the tower has {tower.width} '
                f'channels, from 0 to {tower.width - 1}'
            )
        return chosen

    def check(self, tower: VisionTransformer) -> None:
        """See :class:`.base.Method`."""
        self.channels_of(tower)

    def forward(
        self, tower: VisionTransformer, image: WindowedImage, classify: Classify
    ) -> WindowFeatures:
        """See :class:`.base.WholeImageMethod`."""
        whole = None
        if self.global_from == 'image' and len(image.windows) > 1:
            whole = self._class_features(tower, self._run_blocks(tower, image.view.images)[0])
        groups = self.groups(classify.embeddings)
        features, adjusted = [], []
        for _, view in image.batches():
            found, own = self._encode(tower, view.images)
            given = own if whole is None else whole.expand(len(own), -1)
            features.append(found)
            adjusted.append(self.adjust(found.flatten(1, 2), given, groups, classify))
        return WindowFeatures(torch.cat(features), adjusted=AdjustedQueries.join(adjusted))

    def attention_map(
        self, tower: VisionTransformer, image: WindowedImage, classify: Classify
    ) -> Tensor:
        """See :class:`.base.Method`; the map for the last block's own input."""
        [(_, view)] = image.batches()
        grid = tower.grid(view.images)
        _, shared, inputs = self._run_blocks(tower, view.images, keys=True)
        weights, _ = self._mix(tower, inputs[0], shared, grid)
        return unflatten_map(weights.mean(1), grid)

    def _encode(self, tower: VisionTransformer, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features of windows ``[B, h, w, D]`` and of their class tokens ``[B, D]``."""
        grid = tower.grid(images)
        x, shared, inputs = self._run_blocks(tower, images, keys=True)
        mixed = total(self._mix(tower, each, shared, grid)[1] for each in inputs) / len(inputs)
        features = tower.read_out(tower.blocks[-1].project_out(mixed.to(tower.dtype)))
        return features.unflatten(1, grid), self._class_features(tower, x)

    def _class_features(self, tower: VisionTransformer, x: Tensor) -> Tensor:
        return tower.read_out(x[:, 0])

    def _run_blocks(
        self, tower: VisionTransformer, images: Tensor, keys: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Run all blocks, denoising after each.

        Args:
            tower: CLIP's image tower.
            images: Windows ``[B, 3, H, W]``.
            keys: Whether to compute more than the output.

        Returns:
            The output ``[B, P + N, width]``. With ``keys``, also the patches' part of ``softmax(k
            kᵀ / √d)``, summed over the blocks before the last, ``[B, heads, N, N]``; and the two
            inputs of the last attention, ``[B, P + N, width]``, float32.
        """
        x, grid = tower.embed(images)
        channels = torch.tensor(self.channels_of(tower), device=x.device)
        rope, count = tower.rope(grid), grid[0] * grid[1]
        outputs = torch.zeros_like(x, dtype=torch.float32)
        shared = x.new_zeros(len(x), tower.heads, count, count, dtype=torch.float32)
        for number, block in enumerate(tower.blocks, 1):
            last = x
            x, found = block.forward_intermediates(
                x, 'k' if keys and number < len(tower.blocks) else '', rope
            )
            if found:
                shared += key_map(found['k'], count)
            x = denoise(x, grid, channels)
            if keys:
                outputs += x
        if not keys:
            return x, shared, []
        guide = outputs / len(tower.blocks)
        similarity = pairwise_cosines(guide[:, -count:])
        similarity.masked_fill_(similarity < self.threshold, 0)
        inputs = []
        for each in (last.float(), guide):
            prefix, patches = each.tensor_split([each.shape[1] - count], 1)
            inputs.append(torch.cat([prefix, similarity @ patches], 1))
        return x, shared, inputs

    def _mix(
        self, tower: VisionTransformer, x: Tensor, shared: Tensor, grid: Grid
    ) -> tuple[Tensor, Tensor]:
        """Map ``[B, heads, N, N]`` and mixed values ``[B, heads, N, d]`` of the last attention."""
        block, count = tower.blocks[-1], grid[0] * grid[1]
        k, v = block.project_kv(block.norm1(x).to(tower.dtype), tower.rope(grid))
        weights = (shared + key_map(k, count)) / len(tower.blocks)
        return weights, weights.to(v.dtype) @ v[:, :, -count:]

    def adjust(
        self, features: Tensor, given: Tensor, groups: Tensor, classify: Classify
    ) -> AdjustedQueries:
        """Adjust the queries to windows.

        Args:
            features: Patch features, ``[B, N, D]``.
            given: Class token that queries are compared with, ``[B, D]``.
            groups: Groups of queries, from :meth:`groups`.
            classify: The text head.
        """
        texts = classify.embeddings
        similar = classify(given[:, None, None])[:, :, 0, 0]
        # [B, G, members], with -inf where a group has fewer members; the first wins ties.
        members = similar[:, groups.clamp(min=0)].masked_fill(groups < 0, float('-inf'))
        chosen = groups.expand(len(similar), -1, -1).gather(2, members.argmax(2, keepdim=True))
        chosen = chosen[..., 0]  # [B, G]
        patches = F.normalize(features.float(), dim=-1)
        closeness = texts[chosen] @ patches.transpose(1, 2)
        nearest = closeness.topk(min(2, patches.shape[1]), dim=-1).indices  # [B, G, 2]
        rows = torch.arange(len(patches), device=patches.device)[:, None, None]
        means = F.normalize(patches[rows, nearest].mean(2), dim=-1)
        weight = self.patch_weight
        moved = F.normalize((1 - weight) * texts[chosen] + weight * means, dim=-1)
        embeddings = texts.repeat(len(patches), 1, 1)
        embeddings[rows[..., 0], chosen] = moved
        return AdjustedQueries((1 - self.global_weight) * embeddings, self.global_weight * similar)

    def groups(self, texts: Tensor) -> Tensor:
        """Return the queries of each group, int64 ``[G, members]``, padded with -1.

        The result is kept for further calls with the same texts.

        Args:
            texts: Embeddings of the queries, L2-normalised, ``[Q, D]``.
        """
        if self._grouped is None or not _equal(self._grouped[0], texts):
            labels = group_queries(texts.cpu().double().numpy(), self.group_distance)
            members = [np.flatnonzero(labels == label) for label in dict.fromkeys(labels)]
            table = np.full((len(members), max(map(len, members))), -1)
            for row, numbers in zip(table, members):
                row[: len(numbers)] = numbers
            self._grouped = texts.clone(), torch.from_numpy(table).to(texts.device)
        return self._grouped[1]


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.device == b.device and a.dtype == b.dtype and a.shape == b.shape and a.equal(b)


def group_queries(texts: np.ndarray, distance: float) -> np.ndarray:
    """Group queries such that any two of a group are within a cosine distance.

    Args:
        texts: L2-normalised embeddings, float64 ``[Q, D]``.
        distance: The largest distance.

    Returns:
        Group of each query, ``[Q]``.
    """
    if len(texts) < 2:
        return np.zeros(len(texts), int)
    distances = np.clip(1 - texts @ texts.T, 0, None)
    distances[distances < 1e-6] = 0  # equal queries, up to rounding
    np.fill_diagonal(distances, 0)
    from scipy.cluster.hierarchy import fcluster, linkage  # which take long to import
    from scipy.spatial.distance import squareform

    tree = linkage(squareform(distances, checks=False), 'complete')
    return fcluster(tree, distance, 'distance')


def key_map(k: Tensor, count: int) -> Tensor:
    """Compute the patches' part of ``softmax(k kᵀ / √d)``.

    Args:
        k: Keys ``[B, heads, P + N, d]``.
        count: Number of patches N.

    Returns:
        Weights ``[B, heads, N, N]``; rows sum to less than 1 if there are prefix tokens.
    """
    return attention_logits(k, k).softmax(-1)[..., -count:, -count:]


def denoise(x: Tensor, grid: Grid, channels: Tensor) -> Tensor:
    """Mix each sink with the patches around it.

    Args:
        x: Tokens ``[B, P + N, width]``.
        grid: Patch rows and columns.
        channels: Channels that are large in sinks, int64.

    Returns:
        Tokens of the same shape and dtype.
    """
    count = grid[0] * grid[1]
    prefix, patches = x.tensor_split([x.shape[1] - count], 1)
    patches = patches.float().contiguous()
    least = patches.amin(-1, keepdim=True)
    above = patches.sum(-1, keepdim=True) - x.shape[-1] * least
    shares = (patches[..., channels] - least) / above
    sinks = (shares > _STRONG / x.shape[-1]).any(-1, keepdim=True)
    # A weight of 0 leaves a patch exactly unchanged.
    weights = sinks.float().mul_(1 - _KEPT)
    mixed = patches.lerp(sum_around(patches, grid).div_(9), weights)
    return torch.cat([prefix, mixed.to(x.dtype)], 1)
