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
from ..refiners import build_image_refiner
from ..view import View
from .base import Classify, LastBlockMethod, LastTokens, patch_distance, patch_offsets

_CACHE = 1 << 28  # bytes of sampled lines that are cached
# Kernel that smooths rows: its standard deviation in patches, and its largest length.
_STD, _TAPS = 5.0, 31


@METHODS.register_module()
class ResCLIP(LastBlockMethod):
    """Adds RCS, SFR, or both to another method.

    Args:
        base: Config of the other method.
        rcs: Arguments of :class:`RCS`; None to leave it out.
        sfr: Arguments of :class:`SFR`; None to leave it out.

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
                'the lines between all pairs of patches (sfr), which are too many for ONNX'
            )
        self.keep_residual = self.base.keep_residual
        self.earlier_blocks = self.rcs.blocks if self.rcs else ()

    def prepare(
        self, tower: VisionTransformer, view: View, classify: Classify
    ) -> tuple[Tensor, LastTokens]:
        """Run the blocks before the last and, for SFR, the last one once in advance."""
        x, tokens = super().prepare(tower, view, classify)
        if self.sfr is not None:
            cosines = classify(self.read_out(tower, x, tokens))  # without similarity so far
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
        InputError: If a value is out of range.
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
        tau: Factor τ on the mixed map.
        lam: Share λ of the middle blocks' map.
        blocks: Blocks, counted from 1, whose mean attention map is mixed in.

    Raises:
        InputError: If ``blocks`` is empty, or a value is out of range.
    """

    def __init__(self, tau: float = 2.0, lam: float = 0.3, blocks: Sequence[int] = (6, 7, 8, 9)):
        super().__init__(tau, lam)
        if not isinstance(blocks, (list, tuple)) or not blocks:
            raise InputError(f'RCS: blocks={blocks!r} must be a list of block numbers')
        self.blocks = tuple(blocks)


class SFR(_Mixer):
    """Semantic Feedback Refinement: mixes a similarity of patches into the logits.

    Args:
        tau: Factor τ on the mixed logits.
        lam: Share λ of the similarity.
        temp_thd: Threshold, 0 to 1: pixels of the first segmentation whose largest probability is
            below it get label 0.
        logit_scale: Factor on the cosines of the first segmentation.
        refine: Config of the refiner of the first segmentation; None for PAMR.
        full_line: Whether to test the whole line between two patches. False tests only a prefix of
            it, as the published program does.
        merge_synonyms: Whether to label pixels by class. False labels them by query, so that
            synonyms differ, as the published program does.

    Raises:
        InputError: If a value is out of range.
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
        self.refine = build_image_refiner(refine, key)
        self.full_line = full_line
        self.merge_synonyms = merge_synonyms

    def forward(
        self, cosines: Tensor, images: Tensor, class_ids: Tensor, patch_size: int
    ) -> Tensor:
        """Turn a first segmentation into a similarity of patches.

        Args:
            cosines: Cosines of the patches, ``[B, Q, h, w]``.
            images: Windows ``[B, 3, H, W]``.
            class_ids: Class of each query, int64 ``[Q]``.
            patch_size: Side of a patch in pixels.

        Returns:
            Similarity ``[B, N, N]``, float32, at most 1.
        """
        size = height_width(images)
        # Enough at a time to keep an accelerator busy; one on a CPU, whose map fits the cache.
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
        """Compute the label of each pixel, int64 ``[B, H, W]``."""
        query_map = self.refine(resize_maps(cosines, height_width(images)), images)
        best, labels = best_queries(query_map.permute(0, 2, 3, 1), self.logit_scale)
        if self.merge_synonyms:
            labels = class_ids[labels]
        return labels.masked_fill(best < self.temp_thd, 0)


def patch_labels(labels: Tensor, patch_size: int, num_labels: int) -> Tensor:
    """Find the most frequent label of each patch; of equally frequent ones, the smallest.

    Args:
        labels: Labels, int64 ``[B, H, W]``; pixels beyond the last whole patch are left out.
        patch_size: Side of a patch in pixels.
        num_labels: Number of labels, which are 0 to ``num_labels - 1``.

    Returns:
        Labels of patches, int64 ``[B, H // patch_size, W // patch_size]``.
    """
    patches = labels.unfold(1, patch_size, patch_size).unfold(2, patch_size, patch_size)
    grid = patches.shape[:3]
    patches = patches.flatten(3).flatten(0, 2)
    # Not torch.mode, which breaks ties differently on different devices.
    counts = patches.new_zeros(patches.shape[0], num_labels)
    counts.scatter_add_(1, patches, patches.new_ones(()).expand_as(patches))
    return counts.argmax(-1).view(grid)


def patch_similarity(labels: Tensor, full_line: bool = False) -> Tensor:
    """Compute a similarity of patches from their labels, float32 ``[B, N, N]``.

    It is 0 for patches of different labels, and 1 for patches of the same label, unless their line
    passes a patch of another label: then ``exp(-d / d_max)``, with d the Chebyshev distance in
    patches, and d_max the largest one on the grid.

    Args:
        labels: Labels of patches, int64 ``[B, rows, columns]``.
        full_line: Whether to test whole lines, see :func:`line_samples`.
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
    """Return the sampled lines; computed again on each call if too large for the cache."""
    size = 12 * (grid[0] * grid[1]) ** 2 * max(grid)  # bytes, at most
    return (_cached_samples if size <= _CACHE else line_samples)(grid, full_line, device)


@cached_tensors(max_bytes=_CACHE)
def _cached_samples(
    grid: Grid, full_line: bool, device: torch.device
) -> list[tuple[Tensor, Tensor]]:
    return list(line_samples(grid, full_line, device))


def line_samples(
    grid: Grid, full_line: bool, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Sample the straight line from each patch i to each patch j.

    Samples lie at ``t = 1 / d_max, 2 / d_max, …``, with d_max the largest Chebyshev distance on the
    grid. As in the published program, a pair at distance d is tested only at the first d samples,
    which for close pairs cover only the beginning of their line; with ``full_line``, at all.

    Args:
        grid: Patch rows and columns.
        full_line: Whether to continue to the end of each line.
        device: Device of the results.

    Yields:
        For each t the tested pairs, int32 ``[2, pairs]``, and the patch at t, int32 ``[pairs]``.
    """
    dy, dx = patch_offsets(grid, device)
    distance = torch.maximum(dy.abs(), dx.abs())
    index = torch.arange(len(dy), device=device)
    y, x = index // grid[1], index % grid[1]
    farthest = max(grid) - 1
    dtype = torch.int64 if is_exporting() else torch.int32  # ONNX indices are int64
    for step in range(1, farthest + 1):
        first, second = (distance >= (1 if full_line else step)).nonzero(as_tuple=True)
        t = step / farthest
        row = (y[first] + t * dy[first, second]).round().long()
        column = (x[first] + t * dx[first, second]).round().long()
        pairs, between = torch.stack([first, second]), row * grid[1] + column
        yield pairs.to(dtype), between.to(dtype)


def smooth_rows(similarity: Tensor) -> Tensor:
    """Smooth rows with a Gaussian along the flattened patch index, and normalise their sums to 1.

    Args:
        similarity: Similarity ``[B, N, N]``.

    Returns:
        Smoothed similarity ``[B, N, N]``.
    """
    count, device = similarity.shape[-1], similarity.device
    taps = min(count, _TAPS)
    taps -= 1 - taps % 2  # odd
    kernel = (-((torch.arange(taps, device=device) - taps // 2) ** 2) / (2 * _STD**2)).exp()
    kernel = (kernel / kernel.sum()).to(similarity.dtype)
    # A convolution, as a product with a banded matrix: convolutions may run in TF32 by default.
    index = torch.arange(count, device=device)
    offset = index[:, None] - index + taps // 2
    band = kernel[offset.clamp(0, taps - 1)] * ((offset >= 0) & (offset < taps))
    smooth = similarity @ band
    return smooth / (smooth.sum(-1, keepdim=True) + 1e-8)
