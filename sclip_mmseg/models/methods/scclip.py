"""SC-CLIP, *Self-Calibrated CLIP for Training-Free Open-Vocabulary Segmentation* (2411.15869)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...old_names import keep_old_names
from ...registry import METHODS
from ...towers import Block, Grid, Tokens, VisionTransformer, attention_logits
from ...utils.errors import InputError
from ...utils.torch_types import is_exporting
from ..view import View
from .base import Classify, Method, self_pairs, unflatten_map
from .proxyclip import pairwise_cosines

keep_old_names(__name__, cosines='models.methods.proxyclip.pairwise_cosines')


@METHODS.register_module()
class SCCLIP(Method):
    """Repairs anomalous patches, and uses middle blocks in the last attention.

    Blocks are counted from 1. The defaults are the published values for the 12 blocks of ViT-B/16.
    Nothing is published for other depths; there the default blocks are scaled in proportion.

    Args:
        neighbours: Number of nearest patches for a patch's outlier factor. Windows must have more
            patches.
        share: Share of patches that are anomalous, at least 0 and below 1.
        similarity_block: Block whose repaired patches give the similarity of patches; 9 of 12.
        edge_block: Block whose patches give the similarity for averaging the result; 4 of 12.
        level_blocks: Blocks whose summed outputs are the second branch; 4 to 10 of 12.
        class_weight: Weight of the class token, which is added to every patch.
        threshold: Smallest similarity that counts in an average, at least 0 and below 1.
        temperature: Factor on the similarities in the last attention.

    Raises:
        InputError: If a value is out of range.
    """

    #: The last block's own maps, of queries (q) or keys (k), that are averaged with the given map:
    #: in the main branch, and in the branch of the level blocks.
    own_maps: tuple[str, str] = ('k', 'k')
    #: Whether :meth:`find` gets the attention of the second last block.
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
                raise InputError(f'method: block {block!r} must be an integer, counted from 1')

    def blocks(self, depth: int) -> tuple[int, int, Sequence[int]]:
        """Return the similarity, edge and level blocks of a tower with ``depth`` blocks."""

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
                f'the method needs block {last}, but only blocks 1 to {earlier} precede the '
                'last: set similarity_block, edge_block and level_blocks of '
                'model.image_encoder.method'
            )

    def forward(self, tower: VisionTransformer, view: View, classify: Classify) -> Tensor:
        """See :class:`.base.Method`.

        Raises:
            InputError: If the windows have too few patches.
        """
        tokens, averaged, weights, edges = self._prepare(tower, view.images)
        block, branches = tower.blocks[-1], (tokens.x, tokens.sums['output'])
        # Averaging the sum of both branches equals the sum of their averages.
        patches = averaged, tokens.patches_of(branches[1])
        main, levels = (
            attend(block, branch, weights, own) for branch, own in zip(patches, self.own_maps)
        )
        class_tokens = sum(tokens.prefix_of(branch)[:, :1] for branch in branches)
        features = average(main + levels + self.class_weight * class_tokens, edges, self.threshold)
        return tower.read_out(features.to(tower.dtype)).unflatten(1, tokens.grid)

    def attention_map(self, tower: VisionTransformer, view: View, classify: Classify) -> Tensor:
        """See :class:`.base.Method`; the map of the main branch."""
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
        """Run the tower up to the last block, and calibrate.

        Returns:
            The last block's input, with the sum of the level blocks' outputs; the repaired and
            averaged patches ``[B, N, width]``; the map of all heads; and the similarities of the
            edge block, both ``[B, N, N]``; all float32.
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
        similarity = pairwise_cosines(repair(patches_of_block(similarity_block), anomalous, grid))
        edges = pairwise_cosines(patches_of_block(edge_block))
        averaged = average(repaired, similarity, self.threshold)
        return tokens, averaged, self.attention(similarity), edges

    def check_grid(self, grid: Grid) -> None:
        """Check that windows have enough patches.

        Raises:
            InputError: If they have too few.
        """
        if grid[0] * grid[1] <= self.neighbours:
            raise InputError(
                f'method.neighbours={self.neighbours} needs windows of more patches than that, but '
                f'these have {grid[0]} × {grid[1]}: enlarge test_cfg.crop_size or the images'
            )

    def find(self, tokens: Tokens, attention: Tensor | None = None) -> Tensor:
        """Find the anomalous patches.

        Args:
            tokens: Input of the last block.
            attention: Weights of the block before, ``[B, heads, P + N, P + N]``; None unless
                :attr:`sees_attention`.

        Returns:
            Mask of anomalous patches, bool ``[B, N]``.
        """
        factors = local_outlier_factors(tokens.patches, self.neighbours)
        return find_anomalies(factors, self.share)

    def attention(self, similarity: Tensor) -> Tensor:
        """Turn similarities into an attention map, both ``[B, N, N]``; those above the mean count.

        Args:
            similarity: Cosines, float32.
        """
        logits = self.temperature * (similarity - similarity.mean((1, 2), keepdim=True))
        # A patch always attends to itself, even if all similarities are equal up to rounding.
        logits = torch.where(self_pairs(logits), logits.clamp(min=0), logits)
        return logits.masked_fill_(logits < 0, float('-inf')).softmax(-1)


def local_outlier_factors(tokens: Tensor, neighbours: int) -> Tensor:
    """Compute how sparse the surroundings of each token are, relative to its nearest tokens'.

    A simplification of Breunig et al. (2000): the density of a token is the inverse of the squared
    distance κ to its farthest neighbour, and its factor is the mean density of its neighbours over
    its own.

    Args:
        tokens: Tokens ``[B, N, width]``, float32.
        neighbours: Number of neighbours of a token, below N.

    Returns:
        Factors ``[B, N]``: about 1 for typical tokens, larger for outliers.
    """
    tokens = tokens - tokens.mean(1, keepdim=True)  # a common offset would cost precision
    squares = tokens.square().sum(-1)
    sums = squares[:, :, None] + squares[:, None]
    distances = torch.baddbmm(sums, tokens, tokens.transpose(1, 2), alpha=-2).clamp_(min=0)
    distances.masked_fill_(self_pairs(distances), -1)  # the token itself comes first; dropped below
    nearest, indices = distances.topk(neighbours + 1, dim=-1, largest=False)
    kappa = nearest[..., -1].clamp(min=1e-12)  # 0 among many equal tokens
    densities = kappa.reciprocal()[:, None].expand_as(distances)
    return densities.gather(2, indices[..., 1:]).mean(-1) * kappa


def find_anomalies(factors: Tensor, share: float) -> Tensor:
    """Mark tokens whose factor ``[B, N]`` is above the quantile ``1 - share`` of their image."""
    return factors > factors.quantile(1 - share, dim=-1, keepdim=True)


def repair(patches: Tensor, anomalous: Tensor, grid: Grid) -> Tensor:
    """Replace anomalous patches by the mean of the normal patches among their eight neighbours.

    Args:
        patches: Patches ``[B, N, width]``, float32.
        anomalous: Patches to replace, bool ``[B, N]``; one without a normal neighbour is kept.
        grid: Patch rows and columns.

    Returns:
        Repaired patches ``[B, N, width]``.
    """
    normal = (~anomalous)[..., None].to(patches.dtype)
    counts = sum_around(normal, grid)
    means = sum_around(patches * normal, grid) / counts.clamp(min=1)
    return torch.where(anomalous[..., None] & (counts > 0), means, patches)


def sum_around(x: Tensor, grid: Grid) -> Tensor:
    """Sum 3 × 3 patches of ``[B, N, width]``, fewer at the border."""
    maps = x.contiguous().unflatten(1, grid).permute(0, 3, 1, 2)  # in memory as channels_last
    # ONNX's average pooling has no divisor_override.
    divisor, factor = (None, 9) if is_exporting() else (1, 1)
    sums = F.avg_pool2d(maps, 3, stride=1, padding=1, divisor_override=divisor) * factor
    return sums.permute(0, 2, 3, 1).flatten(1, 2)


def average(patches: Tensor, similarity: Tensor, threshold: float) -> Tensor:
    """Average patches ``[B, N, width]`` by similarities ``[B, N, N]`` of at least a threshold."""
    weights = similarity.masked_fill(similarity < threshold, 0)
    return (weights @ patches) / (weights.sum(-1, keepdim=True) + 1e-6)


def attend(block: Block, patches: Tensor, weights: Tensor, own: str = 'k') -> Tensor:
    """Compute the last attention: the mean of a given map and some maps ``softmax(z zᵀ / √d)``.

    There is no residual, MLP or class token.

    Args:
        block: The last block.
        patches: Input of the block ``[B, N, width]``, float32.
        weights: Map of all heads ``[B, N, N]``; rows sum to 1.
        own: The features z, letters of ``'qk'``.

    Returns:
        Output of the attention ``[B, N, width]``, float32.
    """
    dtype = block.out.weight.dtype
    q, k, v = block.project(block.norm1(patches).to(dtype))
    mixed = weights.to(dtype) @ v.transpose(1, 2).flatten(2)
    for name in own:
        part = dict(q=q, k=k)[name]
        mixed = mixed + F.scaled_dot_product_attention(part, part, v).transpose(1, 2).flatten(2)
    return block.out(mixed / (1 + len(own))).float()
