"""ResCLIP (arXiv 2411.15851): Residual Cross-correlation and Semantic Feedback Refinement."""

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from ...registry import METHODS
from ...towers import Grid, VisionTransformer, attention_logits
from ...utils.cache import cached_tensors
from ...utils.errors import InputError
from ...utils.torch_types import height_width, is_exporting, total
from ..decision import best_queries
from ..fusion import resize_maps, tile_limit
from ..refiners import build_refiner_of_images
from ..view import View
from .base import Classify, LastBlockMethod, LastTokens, patch_distance, patch_offsets

_CACHE = 1 << 28  # bytes of sampled lines kept


@METHODS.register_module()
class ResCLIP(LastBlockMethod):
    """Another method with RCS, with SFR, or with both.

    Args:
        base: Config of the other method.
        rcs: Config of :class:`RCS`, without ``type``; None to leave it out.
        sfr: Config of :class:`SFR`, without ``type``; None to leave it out.

    Raises:
        InputError: If ``base`` is not a softmax of logits.
    """

    def __init__(self, base: dict, rcs: dict | None = None, sfr: dict | None = None):
        super().__init__()
        self.base = METHODS.build(base)
        kind = type(self.base)
        if not issubclass(kind, LastBlockMethod) or kind.pairs is LastBlockMethod.pairs:
            raise InputError(f'method.base={kind.__name__} has no logits for RCS or SFR to change')
        self.rcs = RCS(**rcs) if rcs is not None else None
        self.sfr = SFR(**sfr) if sfr is not None else None
        if self.sfr is not None:
            self.not_exported = (
                "the lines between each two patches (sfr), which outgrow ONNX's graph"
            )
        self.keep_residual = self.base.keep_residual
        self.earlier_blocks = self.rcs.blocks if self.rcs else ()

    def prepare(
        self, tower: VisionTransformer, view: View, classify: Classify
    ) -> tuple[Tensor, LastTokens]:
        """Run the blocks before the last and, for SFR, the last one a first time."""
        x, tokens = super().prepare(tower, view, classify)
        if self.sfr is not None:
            cosines = classify(self.read_out(tower, x, tokens))  # as yet without similarity
            similarity = self.sfr(cosines, view.images, classify.class_ids, tower.patch_size)
            tokens.similarity = tokens.pad(similarity)[:, None]
        return x, tokens

    def mix(self, tokens: LastTokens) -> Tensor:
        """See :class:`.base.LastBlockMethod`."""
        bias = self.base.bias(tokens)

        def weigh(a: Tensor, b: Tensor) -> Tensor:
            logits = attention_logits(a, b)
            if self.sfr is not None and tokens.similarity is not None:
                logits = self.sfr.mix(logits, tokens.similarity.to(logits.dtype))
            return (logits if bias is None else logits + bias).softmax(-1)

        weights = total(weigh(a, b) for a, b in self.base.pairs(tokens))
        if self.rcs is not None:
            weights = self.rcs.mix(weights, tokens.earlier)
        return weights @ tokens.values


class _Mixer(nn.Module):
    """``τ ((1 - λ) own + λ other)``.

    Args:
        tau: τ, positive.
        lam: λ, 0 to 1.

    Raises:
        InputError: If a value is out of its range.
    """

    def __init__(self, tau: float, lam: float):
        super().__init__()
        if not tau > 0 or not 0 <= lam <= 1:
            name = type(self).__name__
            raise InputError(f'{name}: tau={tau} must be positive and lam={lam} between 0 and 1')
        self.tau, self.lam = tau, lam

    def mix(self, own: Tensor, other: Tensor) -> Tensor:
        """Mix two maps ``[B, heads, P + N, P + N]``."""
        return self.tau * ((1 - self.lam) * own + self.lam * other)


class RCS(_Mixer):
    """Residual Cross-correlation Self-attention: mixes in the maps of middle blocks.

    Args:
        tau: See :class:`_Mixer`.
        lam: See :class:`_Mixer`.
        blocks: Blocks, counted from 1, whose mean attention map is mixed in.

    Raises:
        InputError: If there is no block.
    """

    def __init__(self, tau: float = 2.0, lam: float = 0.3, blocks: Sequence[int] = (6, 7, 8, 9)):
        super().__init__(tau, lam)
        if not isinstance(blocks, (list, tuple)) or not blocks:
            raise InputError(f'RCS: blocks={blocks!r} must be a list of block numbers')
        self.blocks = tuple(blocks)


class SFR(_Mixer):
    """Semantic Feedback Refinement: mixes a similarity of patches into the logits.

    Args:
        tau: See :class:`_Mixer`.
        lam: See :class:`_Mixer`.
        temp_thd: Pixels of the first segmentation whose maximum is below get label 0, 0 to 1.
        logit_scale: Factor on the cosines of the first segmentation.
        refine: Config of what refines the first segmentation.
        full_line: Test the whole line between two patches. The published program tests a prefix
            only, which is the default.
        merge_synonyms: Label pixels by class. The published program labels them by query, so that
            synonyms differ, which is the default.

    Raises:
        InputError: If a value is out of its range.
    """

    def __init__(
        self,
        tau: float,
        lam: float,
        temp_thd: float,
        logit_scale: float = 40.0,
        refine: dict | None = None,
        full_line: bool = False,
        merge_synonyms: bool = False,
    ):
        super().__init__(tau, lam)
        if not 0 <= temp_thd <= 1 or not logit_scale > 0:
            raise InputError(
                f'SFR: temp_thd={temp_thd} must be between 0 and 1 and logit_scale={logit_scale} '
                'positive'
            )
        self.temp_thd = temp_thd
        self.logit_scale = logit_scale
        refine = refine or dict(type='PAMR', num_steps=10, dilations=(8, 16))
        key = 'model.image_encoder.method.sfr.refine'
        self.refine = build_refiner_of_images(refine, key)
        self.full_line = full_line
        self.merge_synonyms = merge_synonyms

    def forward(
        self, cosines: Tensor, images: Tensor, class_ids: Tensor, patch_size: int
    ) -> Tensor:
        """Turn a first segmentation into a similarity of patches.

        Args:
            cosines: ``[B, Q, h, w]`` of the patches.
            images: The crops ``[B, 3, H, W]``.
            class_ids: The class of each query, int64 ``[Q]``.
            patch_size: Side of a patch in pixels.

        Returns:
            ``[B, N, N]``, float32, at most 1.
        """
        size = height_width(images)
        # As many at a time as fill an accelerator; on a CPU one, whose map stays in its cache.
        step = max(tile_limit(images.device) // (cosines.shape[1] * math.prod(size)), 1)
        if torch.compiler.is_compiling():  # for batches of any size
            labels = self._segment(cosines, images, class_ids)
        else:
            parts = zip(cosines.split(step), images.split(step))
            labels = torch.cat([self._segment(*part, class_ids) for part in parts])
        labels = patch_labels(labels, patch_size, num_labels=cosines.shape[1])
        similarity = smooth_rows(patch_similarity(labels, self.full_line))
        return similarity / similarity.amax((1, 2), keepdim=True)

    def _segment(self, cosines: Tensor, images: Tensor, class_ids: Tensor) -> Tensor:
        """Label of each pixel, int64 ``[B, H, W]``."""
        query_map = self.refine(resize_maps(cosines, height_width(images)), images)
        best, labels = best_queries(query_map.permute(0, 2, 3, 1), self.logit_scale)
        if self.merge_synonyms:
            labels = class_ids[labels]
        return labels.masked_fill(best < self.temp_thd, 0)


def patch_labels(labels: Tensor, patch_size: int, num_labels: int) -> Tensor:
    """Most frequent label of each patch, the smallest of equally frequent ones.

    Args:
        labels: int64 ``[B, H, W]``; pixels beyond the last whole patch are left out.
        patch_size: Side of a patch in pixels.
        num_labels: Labels are 0 to ``num_labels - 1``.

    Returns:
        int64 ``[B, H // patch_size, W // patch_size]``.
    """
    patches = labels.unfold(1, patch_size, patch_size).unfold(2, patch_size, patch_size)
    grid = patches.shape[:3]
    patches = patches.flatten(3).flatten(0, 2)
    # Not torch.mode, whose choice among equally frequent ones depends on the device.
    counts = patches.new_zeros(patches.shape[0], num_labels)
    counts.scatter_add_(1, patches, patches.new_ones(()).expand_as(patches))
    return counts.argmax(-1).view(grid)


def patch_similarity(labels: Tensor, full_line: bool = False) -> Tensor:
    """1 for patches of one label, less where another label lies between them, else 0.

    Pairs whose line passes a patch of another label get ``exp(-d / d_max)``, d the Chebyshev
    distance in patches, d_max the largest one on the grid.

    Args:
        labels: int64 ``[B, rows, columns]``.
        full_line: See :func:`line_samples`.

    Returns:
        float32 ``[B, N, N]``.
    """
    grid = height_width(labels)
    flat = labels.flatten(1)
    blocked = torch.zeros(*flat.shape, flat.shape[1], dtype=torch.bool, device=flat.device)
    for tested, between in _samples(grid, full_line, flat.device):
        blocked[:, tested[0], tested[1]] |= flat[:, between] != flat[:, tested[0]]
    distance = patch_distance(grid, flat.device)
    decay = (-distance / distance.max().clamp(min=1)).exp()
    same = flat[:, :, None] == flat[:, None]
    return torch.where(blocked, decay, 1.0) * same


def _samples(grid: Grid, full_line: bool, device: torch.device) -> Iterable[tuple[Tensor, Tensor]]:
    """Sampled lines, made anew where they would not stay in the cache."""
    size = 12 * (grid[0] * grid[1]) ** 2 * max(grid)  # bytes, at most
    return (_cached_samples if size <= _CACHE else line_samples)(grid, full_line, device)


@cached_tensors(max_bytes=_CACHE)
def _cached_samples(
    grid: Grid, full_line: bool, device: torch.device
) -> list[tuple[Tensor, Tensor]]:
    return list(line_samples(grid, full_line, device))


def line_samples(
    grid: Grid, full_line: bool, device: torch.device | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Sample the straight line from every patch i to every patch j.

    Samples lie at ``t = 1 / d_max, 2 / d_max, …``, d_max the largest Chebyshev distance on the
    grid. As in the published program, a pair at distance d is tested at the first d of them only,
    so that close pairs look at a prefix of their line; or, with ``full_line``, at all of them.

    Args:
        grid: Patch rows and columns.
        full_line: Whether to continue to the end of every line.
        device: Device of the results.

    Yields:
        For each t the pairs tested, int32 ``[2, pairs]``, and the patch at t, int32 ``[pairs]``.
    """
    dy, dx = patch_offsets(grid, device)
    distance = torch.maximum(dy.abs(), dx.abs())
    index = torch.arange(len(dy), device=device)
    y, x = index // grid[1], index % grid[1]
    farthest = max(grid) - 1
    dtype = torch.int64 if is_exporting() else torch.int32  # ONNX has indices of one type
    for step in range(1, farthest + 1):
        first, second = (distance >= (1 if full_line else step)).nonzero(as_tuple=True)
        t = step / farthest
        row = (y[first] + t * dy[first, second]).round().long()
        column = (x[first] + t * dx[first, second]).round().long()
        pairs, between = torch.stack([first, second]), row * grid[1] + column
        yield pairs.to(dtype), between.to(dtype)


def smooth_rows(similarity: Tensor, std: float = 5.0, taps: int = 31) -> Tensor:
    """Smooth each row along the flattened patch index with a Gaussian and make it sum to 1.

    Args:
        similarity: ``[B, N, N]``.
        std: Standard deviation in patches.
        taps: Largest length of the kernel, which is odd and at most N.

    Returns:
        ``[B, N, N]``.
    """
    count, device = similarity.shape[-1], similarity.device
    taps = min(count, taps)
    taps -= 1 - taps % 2
    kernel = (-((torch.arange(taps, device=device) - taps // 2) ** 2) / (2 * std**2)).exp()
    kernel = (kernel / kernel.sum()).to(similarity.dtype)
    # The convolution as a product with a banded matrix, which no library runs in TF32 unasked.
    index = torch.arange(count, device=device)
    offset = index[:, None] - index + taps // 2
    band = kernel[offset.clamp(0, taps - 1)] * ((offset >= 0) & (offset < taps))
    smooth = similarity @ band
    return smooth / (smooth.sum(-1, keepdim=True) + 1e-8)
