"""SC-CLIP, *Self-Calibrated CLIP for Training-Free Open-Vocabulary Segmentation* (2411.15869)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...registry import METHODS
from ...towers import Block, Grid, Tokens, VisionTransformer, attention_logits
from ...utils.errors import InputError
from ...utils.torch_types import is_exporting
from ..view import View
from .base import Classify, Method, own_pairs, unflatten_map


@METHODS.register_module()
class SCCLIP(Method):
    """Repairs anomalous patches, and lets middle blocks guide and join the last attention.

    Blocks are counted from 1. The defaults are the published values for the 12 blocks of ViT-B/16;
    for another depth nothing is published, and blocks not given are taken in proportion.

    Args:
        neighbours: Nearest patches that a patch's outlier factor looks at. Windows must have more
            patches.
        share: Share of the patches that are anomalous, 0 to below 1.
        similarity_block: Block whose repaired patches give the similarity of patches; 9 of 12.
        edge_block: Block whose patches give the similarity that the result is averaged by; 4 of 12.
        level_blocks: Blocks whose outputs, summed, are the second branch; 4 to 10 of 12.
        class_weight: Weight of the class token that is added to every patch.
        threshold: Smallest similarity that counts in an average, 0 to below 1.
        temperature: Factor on the similarities in the last attention.

    Raises:
        InputError: If a value is out of its range.
    """

    #: Which of the last block's own maps, of its queries or keys, join the given one: in the main
    #: branch, and in that of the level blocks.
    own_maps: tuple[str, str] = ('k', 'k')
    #: Whether :meth:`find` sees the attention of the block before the last.
    sees_attention: bool = False

    def __init__(
        self,
        neighbours: int = 30,
        share: float = 0.05,
        similarity_block: int | None = None,
        edge_block: int | None = None,
        level_blocks: Sequence[int] | None = None,
        class_weight: float = 0.3,
        threshold: float = 0.4,
        temperature: float = 3.0,
    ):
        super().__init__()
        if not isinstance(neighbours, int) or neighbours < 1:
            raise InputError(f'method.neighbours={neighbours!r} must be a positive integer')
        for name, value in dict(share=share, threshold=threshold).items():
            if not 0 <= value < 1:
                raise InputError(f'method.{name}={value} must be at least 0 and below 1')
        if not class_weight >= 0:
            raise InputError(f'method.class_weight={class_weight} must not be negative')
        if not temperature > 0:
            raise InputError(f'method.temperature={temperature} must be positive')
        if not isinstance(level_blocks, (list, tuple, type(None))) or level_blocks in ((), []):
            raise InputError(f'method.level_blocks={level_blocks!r} must be a list of blocks')
        self.neighbours, self.share = neighbours, share
        self.similarity_block, self.edge_block = similarity_block, edge_block
        self.level_blocks = level_blocks
        self.class_weight, self.threshold = class_weight, threshold
        self.temperature = temperature
        for block in (similarity_block, edge_block, *(level_blocks or ())):
            if block is not None and (not isinstance(block, int) or block < 1):
                raise InputError(f'method: block {block!r} must be a number, counted from 1')

    def blocks(self, depth: int) -> tuple[int, int, Sequence[int]]:
        """The similarity, edge and level blocks of a tower of so many blocks."""

        def scaled(block: int) -> int:
            return max(round(block * depth / 12), 1)

        return (
            self.similarity_block or scaled(9),
            self.edge_block or scaled(4),
            self.level_blocks or range(scaled(4), scaled(10) + 1),
        )

    def check(self, tower: VisionTransformer) -> None:
        """See :class:`.base.Method`."""
        earlier = len(tower.blocks) - 1
        similarity, edge, levels = self.blocks(len(tower.blocks))
        last = max(similarity, edge, *levels)
        if last > earlier:
            raise InputError(
                f'the method asks for block {last}, there are blocks 1 to {earlier} '
                'before the last: set similarity_block, edge_block and level_blocks of '
                'model.image_encoder.method'
            )

    def forward(self, tower: VisionTransformer, view: View, classify: Classify) -> Tensor:
        """See :class:`.base.Method`.

        Raises:
            InputError: If the windows have too few patches.
        """
        tokens, averaged, weights, edges = self._prepare(tower, view.images)
        block, branches = tower.blocks[-1], (tokens.x, tokens.sums['output'])
        # Both branches are averaged together in the end, which is the same as one by one.
        patches = averaged, tokens.patches_of(branches[1])
        main, levels = (
            attend(block, branch, weights, own) for branch, own in zip(patches, self.own_maps)
        )
        class_tokens = sum(tokens.prefix_of(branch)[:, :1] for branch in branches)
        features = average(main + levels + self.class_weight * class_tokens, edges, self.threshold)
        return tower.read_out(features.to(tower.dtype)).unflatten(1, tokens.grid)

    def attention_map(self, tower: VisionTransformer, view: View, classify: Classify) -> Tensor:
        """See :class:`.base.Method`: the main branch's."""
        tokens, averaged, weights, _ = self._prepare(tower, view.images)
        block, names = tower.blocks[-1], self.own_maps[0]
        q, k, _ = block.project(block.norm1(averaged).to(tower.dtype))
        for name in names:
            part = dict(q=q, k=k)[name]
            weights = weights + attention_logits(part, part).float().softmax(-1).mean(1)
        return unflatten_map(weights / (1 + len(names)), tokens.grid)

    def _prepare(
        self, tower: VisionTransformer, images: Tensor
    ) -> tuple[Tokens, Tensor, Tensor, Tensor]:
        """Run the tower as far as the last block, and calibrate.

        Returns:
            The last block's input with the sum of the level blocks' outputs, the repaired and
            averaged patches ``[B, N, width]``, the map of all heads and the edges' similarities,
            both ``[B, N, N]``; all float32.
        """
        grid = tower.grid(images)
        self.check_grid(grid)
        depth = len(tower.blocks)
        similarity_block, edge_block, level_blocks = self.blocks(depth)
        asked = {depth: ['input'], similarity_block: ['output'], edge_block: ['output']}
        if self.sees_attention:
            asked[depth - 1] = [*asked.get(depth - 1, ()), 'weights']
        tokens = tower.run(images, asked, sums={'output': level_blocks})
        tokens.x = tokens.x.float()

        def patches_of_block(number: int) -> Tensor:
            return tokens.patches_of(tokens.blocks[number].output).float()

        attention = tokens.blocks[depth - 1].weights if self.sees_attention else None
        anomalous = self.find(tokens, attention)
        repaired = repair(tokens.patches, anomalous, grid)
        similarity = cosines(repair(patches_of_block(similarity_block), anomalous, grid))
        edges = cosines(patches_of_block(edge_block))
        averaged = average(repaired, similarity, self.threshold)
        return tokens, averaged, self.attention(similarity), edges

    def check_grid(self, grid: Grid) -> None:
        """Refuse windows of too few patches.

        Raises:
            InputError: If that is so.
        """
        if grid[0] * grid[1] <= self.neighbours:
            raise InputError(
                f'method.neighbours={self.neighbours} needs windows of more patches than that, '
                f'these have {grid[0]} × {grid[1]}: enlarge test_cfg.crop_size or the images'
            )

    def find(self, tokens: Tokens, attention: Tensor | None = None) -> Tensor:
        """Find the anomalous patches.

        Args:
            tokens: The last block's input.
            attention: Weights of the block before, ``[B, heads, P + N, P + N]``; None unless
                :attr:`sees_attention`.

        Returns:
            Which they are, bool ``[B, N]``.
        """
        factors = local_outlier_factors(tokens.patches, self.neighbours)
        return find_anomalies(factors, self.share)

    def attention(self, similarity: Tensor) -> Tensor:
        """Attention map of similarities, both ``[B, N, N]``: those above their mean count.

        Args:
            similarity: Cosines, float32.
        """
        logits = self.temperature * (similarity - similarity.mean((1, 2), keepdim=True))
        # A patch attends to itself, even where all are the same but for rounding.
        logits = torch.where(own_pairs(logits), logits.clamp(min=0), logits)
        return logits.masked_fill_(logits < 0, float('-inf')).softmax(-1)


def local_outlier_factors(tokens: Tensor, neighbours: int) -> Tensor:
    """How much sparser it is around each token than around its nearest ones.

    A simplification of Breunig et al. (2000): a token's density is the inverse of the squared
    distance κ to its farthest neighbour, and its factor the mean of its neighbours' densities over
    its own.

    Args:
        tokens: ``[B, N, width]``, float32.
        neighbours: Number of neighbours of a token, below N.

    Returns:
        ``[B, N]``, about 1 for a token like others, more for an outlier.
    """
    tokens = tokens - tokens.mean(1, keepdim=True)  # what all share would cost digits
    squares = tokens.square().sum(-1)
    sums = squares[:, :, None] + squares[:, None]
    distances = torch.baddbmm(sums, tokens, tokens.transpose(1, 2), alpha=-2).clamp_(min=0)
    distances.masked_fill_(own_pairs(distances), -1)  # itself comes first, and is dropped
    nearest, indices = distances.topk(neighbours + 1, dim=-1, largest=False)
    kappa = nearest[..., -1].clamp(min=1e-12)  # of a crowd of equal tokens
    densities = kappa.reciprocal()[:, None].expand_as(distances)
    return densities.gather(2, indices[..., 1:]).mean(-1) * kappa


def find_anomalies(factors: Tensor, share: float) -> Tensor:
    """Which tokens' factors ``[B, N]`` are above the quantile ``1 - share`` of their image's."""
    return factors > factors.quantile(1 - share, dim=-1, keepdim=True)


def repair(patches: Tensor, anomalous: Tensor, grid: Grid) -> Tensor:
    """Replace anomalous patches by the mean of the normal ones among their eight neighbours.

    Args:
        patches: ``[B, N, width]``, float32.
        anomalous: Which to replace, bool ``[B, N]``; one without a normal neighbour stays.
        grid: Patch rows and columns.

    Returns:
        ``[B, N, width]``.
    """
    normal = (~anomalous)[..., None].to(patches.dtype)
    counts = sum_around(normal, grid)
    means = sum_around(patches * normal, grid) / counts.clamp(min=1)
    return torch.where(anomalous[..., None] & (counts > 0), means, patches)


def sum_around(x: Tensor, grid: Grid) -> Tensor:
    """Sum 3 × 3 patches of ``[B, N, width]``, fewer at the border."""
    maps = x.contiguous().unflatten(1, grid).permute(0, 3, 1, 2)  # as channels_last has it
    # ONNX's average cannot be divided by another number.
    divisor, factor = (None, 9) if is_exporting() else (1, 1)
    sums = F.avg_pool2d(maps, 3, stride=1, padding=1, divisor_override=divisor) * factor
    return sums.permute(0, 2, 3, 1).flatten(1, 2)


def cosines(patches: Tensor) -> Tensor:
    """Cosines ``[B, N, N]`` of patches ``[B, N, width]``."""
    directions = F.normalize(patches, dim=-1)
    return directions @ directions.transpose(1, 2)


def average(patches: Tensor, similarity: Tensor, threshold: float) -> Tensor:
    """Average patches ``[B, N, width]`` by similarities ``[B, N, N]`` of at least a threshold."""
    weights = similarity.masked_fill(similarity < threshold, 0)
    return (weights @ patches) / (weights.sum(-1, keepdim=True) + 1e-6)


def attend(block: Block, patches: Tensor, weights: Tensor, own: str = 'k') -> Tensor:
    """The last attention: the mean of a given map and some of ``softmax(z zᵀ / √d)``.

    Neither residual nor MLP follows, and there is no class token.

    Args:
        block: The last block.
        patches: Its input ``[B, N, width]``, float32.
        weights: The map of all heads ``[B, N, N]``, rows sum to 1.
        own: The z, letters of ``'qk'``.

    Returns:
        ``[B, N, width]``, float32.
    """
    dtype = block.out.weight.dtype
    q, k, v = block.project(block.norm1(patches).to(dtype))
    mixed = weights.to(dtype) @ v.transpose(1, 2).flatten(2)
    for name in own:
        part = dict(q=q, k=k)[name]
        mixed = mixed + F.scaled_dot_product_attention(part, part, v).transpose(1, 2).flatten(2)
    return block.out(mixed / (1 + len(own))).float()
