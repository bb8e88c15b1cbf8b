"""Weights with which the cells of windows' maps contribute to pixels, along one side."""

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils.cache import cached_tensors
from .windows import window_spans

#: Longer sides, in pixels, are fused in small tiles. Published sizes are at most 2048.
LARGE = 2048


class WindowAxis(NamedTuple):
    """The windows along one side of an image.

    Attributes:
        side, crop, step: Lengths of the side and of a window, and the stride, in pixels.
        cells: Number of cells of a window's coarse map along this side.
        margins: Padding at the start and the end in pixels, cropped from the fused map.
        align_corners: Whether the outer cells of a window's map lie at the window's corners.
    """

    side: int
    crop: int
    step: int
    cells: int
    margins: tuple[int, int] = (0, 0)
    align_corners: bool = False

    @property
    def kept(self) -> slice:
        """The pixels that remain in the fused map."""
        return slice(self.margins[0], self.side - self.margins[1])


@cached_tensors(max_bytes=1 << 27)
def axis_weights(axis: WindowAxis, length: int, flip: bool, device: torch.device) -> 'AxisWeights':
    """Compute the weight of each cell of the windows along one side in each fused pixel.

    Runs the fusion, bilinear resizing included, along one side on unit vectors.

    Args:
        axis: The windows along the side.
        length: Length of the fused map along the side in pixels.
        flip: Whether the image was mirrored along the side; the fused map is mirrored back.
        device: Device of the weights.
    """
    weights = _weigh(axis, window_spans(axis.side, axis.crop, axis.step), length, flip, device)
    return AxisWeights(weights, *_seen(weights))


def _weigh(
    axis: WindowAxis,
    spans: list[tuple[int, int]],
    length: int,
    flip: bool,
    device: torch.device,
) -> Tensor:
    """Weights ``[length, windows * cells]`` of some windows, valid where no other windows lie."""
    mean = _average(axis, spans, axis.side, device)[..., axis.kept]
    mean = mean.flip(-1) if flip else mean
    return F.interpolate(mean, length, mode='linear', align_corners=False)[0].T.contiguous()


def _average(
    axis: WindowAxis, spans: list[tuple[int, int]], side: int, device: torch.device
) -> Tensor:
    """Weights ``[1, windows * cells, side]`` of some windows, before resizing."""
    total = torch.zeros(len(spans), axis.cells, side, device=device)
    unit = torch.eye(axis.cells, device=device)[None]
    for number, (start, end) in enumerate(spans):
        fine = F.interpolate(unit, end - start, mode='linear', align_corners=axis.align_corners)
        total[number, :, start:end] = fine
    pixel = torch.arange(side, device=device)
    count = sum(pixel.ge(start) & pixel.lt(end) for start, end in spans)
    return total.flatten(0, 1)[None] / count


def _seen(weights: Tensor) -> tuple[list[int], list[int]]:
    """Return for each pixel the first cell with a weight, and the one after the last."""
    seen = weights.ne(0)
    first = seen.int().argmax(1).tolist()
    return first, (seen.shape[1] - seen.flip(1).int().argmax(1)).tolist()


class AxisWeights(NamedTuple):
    """Weights of the windows' cells along one side.

    Attributes:
        weights: ``[pixels, windows * cells]``; rows sum to 1.
        first, last: For each pixel, the first cell with a weight and the one after the last.
    """

    weights: Tensor
    first: list[int]
    last: list[int]

    @property
    def length(self) -> int:
        """Number of pixels."""
        return len(self.weights)

    def cut(self, pixels: slice) -> tuple[Tensor, slice]:
        """Return the weights of some pixels, and the cells they apply to; others are zero."""
        cells = slice(min(self.first[pixels]), max(self.last[pixels]))
        return self.weights[pixels, cells], cells


class LongAxis:
    """Weights of a long side, computed only for the pixels that are read.

    Args:
        axis, length, device: See :func:`axis_weights`.
    """

    def __init__(self, axis: WindowAxis, length: int, device: torch.device):
        self.axis, self.length, self.device = axis, length, device
        self._spans = window_spans(axis.side, axis.crop, axis.step)
        self._cut = lru_cache(1 << 10)(self._make)

    def windows(self, pixels: slice) -> range:
        """Return the windows that some pixels depend on."""
        kept, margin = self.axis.kept, 0
        count = kept.stop - kept.start
        if count != self.length:
            margin = 1  # a pixel is interpolated from its two neighbours
        first = kept.start + pixels.start * count // self.length - margin
        last = kept.start - -pixels.stop * count // self.length + margin
        numbers = [n for n, (start, end) in enumerate(self._spans) if start < last and end > first]
        return range(numbers[0], numbers[-1] + 1)

    def cut(self, pixels: slice) -> tuple[Tensor, slice]:
        """See :meth:`AxisWeights.cut`."""
        return self._cut(pixels.start, pixels.stop)

    def _make(self, start: int, stop: int) -> tuple[Tensor, slice]:
        pixels = slice(start, stop)
        numbers = self.windows(pixels)
        spans = self._spans[numbers.start : numbers.stop]
        kept = self.axis.kept
        if kept.stop - kept.start == self.length:  # no resizing: the pixels asked for suffice
            begin = spans[0][0]
            near = [(first - begin, last - begin) for first, last in spans]
            mean = _average(self.axis, near, near[-1][1], self.device)[0]
            weights = mean[:, start + kept.start - begin : stop + kept.start - begin].T
        else:
            weights = _weigh(self.axis, spans, self.length, False, self.device)[pixels]
        firsts, lasts = _seen(weights)
        first, last, before = min(firsts), max(lasts), numbers.start * self.axis.cells
        own = weights[:, first:last].clone(memory_format=torch.contiguous_format)
        return own, slice(before + first, before + last)


AnyWeights = AxisWeights | LongAxis
