"""Windows of images that may not fit into memory, encoded row by row on demand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import starmap
from typing import Protocol

import torch
from torch import Tensor

from .axes import LARGE, LongAxis, WindowAxis, axis_weights
from .fusion import FusedMap
from .progress import report_progress
from .view import View
from .window_cfg import WindowCfg
from .windows import Size, Window, pad_margins, window_spans


class Pixels(Protocol):
    """An image at its working size, read part by part."""

    @property
    def size(self) -> Size:
        """Height and width in pixels."""

    def has_data(self, window: Window) -> bool:
        """Whether any output pixel that depends on a window has data."""

    def crop(self, window: Window) -> Tensor:
        """Return the pixels of a window as the data preprocessor outputs them, ``[3, h, w]``."""


class RollingMaps:
    """Coarse maps of an image's windows; only the rows in use are kept.

    Wherever reading starts, windows are batched as in a run over the whole image. Windows without
    data are left out.

    Args:
        pixels: The image.
        cfg: How windows are cut.
        encode: Function from windows to coarse maps ``[n, Q, h', w']``.
        window_batch: Returns the largest number of windows of a size to encode at a time.
        align_corners: Whether the outer cells of a window's map lie at the window's corners.

    Attributes:
        encoded: Number of windows that were encoded.
    """

    def __init__(
        self,
        pixels: Pixels,
        cfg: WindowCfg,
        encode: Callable[[View], Tensor],
        window_batch: Callable[[Size], int],
        align_corners: bool = False,
    ):
        self.pixels, self.encode, self._corners = pixels, encode, align_corners
        self.margins = pad_margins(pixels.size, cfg.crop_size, cfg.pad_multiple, cfg.min_size)
        height, width = (side + sum(m) for side, m in zip(pixels.size, self.margins))
        self.sides: Size = height, width
        self.crop, self.stride = cfg.sizes(self.sides)
        self.rows, self.columns = map(window_spans, self.sides, self.crop, self.stride)
        self.step = window_batch((min(height, self.crop[0]), min(width, self.crop[1])))
        self.encoded = 0
        self._maps: dict[int, Tensor] = {}  # by row of windows, [h', J, Q]
        self._first = self._next = 0  # the first row kept, the next batch to encode
        self._like: Tensor | None = None  # the map of any window

    @property
    def count(self) -> int:
        """Number of windows."""
        return len(self.rows) * len(self.columns)

    def prepare(self, rows: range) -> None:
        """Encode some rows of windows and drop the rows before them."""
        across = len(self.columns)
        first = rows.start * across // self.step
        if rows.start < self._first:
            self._maps, self._next = {}, first
        self._first, self._next = rows.start, max(self._next, first)
        self._maps = {row: maps for row, maps in self._maps.items() if row >= rows.start}
        while self._next * self.step < rows.stop * across:
            start = self._next * self.step
            self._encode(range(start, min(start + self.step, self.count)))
            self._next += 1

    def _encode(self, numbers: range) -> None:
        """Encode a batch of windows."""
        found = {number: self._window(number) for number in numbers}
        found = {n: window for n, window in found.items() if self.pixels.has_data(window)}
        if found:
            crops = [self._crop(window) for window in found.values()]
            if len(crops) == 1 < len(numbers):
                crops *= 2  # a batch of one is summed in another order
            for number, coarse in zip(found, self.encode(View(torch.stack(crops)))):
                self._keep(number, coarse.permute(1, 2, 0))
            self.encoded += len(found)
        report_progress(numbers.stop, self.count, self.encoded)

    def _window(self, number: int) -> Window:
        """The box of a window in the unpadded image, whose borders it may cross."""
        row, column = divmod(number, len(self.columns))
        (top, bottom), (left, right) = self.rows[row], self.columns[column]
        (above, _), (before, _) = self.margins
        return Window(top - above, left - before, bottom - above, right - before)

    def _crop(self, window: Window) -> Tensor:
        height, width = self.pixels.size
        inner = Window(
            max(window.top, 0),
            max(window.left, 0),
            min(window.bottom, height),
            min(window.right, width),
        )
        rows = inner.top - window.top, window.bottom - inner.bottom
        columns = inner.left - window.left, window.right - inner.right
        return View(self.pixels.crop(inner)[None]).pad((rows, columns)).images[0]

    def _keep(self, number: int, coarse: Tensor) -> None:
        row, column = divmod(number, len(self.columns))
        height, width, queries = coarse.shape
        self._like = coarse
        if row < self._first:
            return
        if row not in self._maps:
            self._maps[row] = coarse.new_zeros(height, len(self.columns) * width, queries)
        self._maps[row][:, column * width : (column + 1) * width] = coarse

    @property
    def like(self) -> Tensor:
        """The map ``[h', w', Q]`` of some encoded window, for its shape, dtype and device."""
        assert self._like is not None, 'no window was encoded'
        return self._like

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape ``(I, J, Q)`` of all maps together, see :class:`.fusion.WindowMaps`."""
        height, width, queries = self.like.shape
        return len(self.rows) * height, len(self.columns) * width, queries

    @property
    def device(self) -> torch.device:
        """Device of the maps."""
        return self.like.device

    def __getitem__(self, cells: tuple[slice, slice]) -> Tensor:
        """Return the cells of some rows and columns, zeros where nothing was encoded."""
        rows, columns = cells
        height, _, queries = self.like.shape
        parts = []
        for row in range(rows.start // height, -(-rows.stop // height)):
            begin = row * height
            inner = slice(max(rows.start - begin, 0), min(rows.stop - begin, height))
            if row in self._maps:
                parts.append(self._maps[row][inner, columns])
            else:
                shape = inner.stop - inner.start, columns.stop - columns.start, queries
                parts.append(self.like.new_zeros(shape))
        return torch.cat(parts)

    def rows_needed(self, length: int, pixels: slice) -> range:
        """Return the rows of windows that some rows of pixels depend on.

        Args:
            length: Height of the fused map in pixels.
            pixels: Rows of the fused map.
        """
        axis = WindowAxis(self.sides[0], self.crop[0], self.stride[0], 1, self.margins[0])
        return LongAxis(axis, length, torch.device('cpu')).windows(pixels)

    def fuse(self, size: Size) -> FusedMap:
        """Return the image's map at a size; the rows read from it must have been prepared."""
        is_large, grid = max(self.sides) > LARGE, self.like.shape
        corners = self._corners, self._corners
        sides = zip(self.sides, self.crop, self.stride, grid, self.margins, corners)
        rows, columns = (
            LongAxis(axis, length, self.device)
            if is_large
            else axis_weights(axis, length, False, self.device)
            for axis, length in zip(starmap(WindowAxis, sides), size)
        )
        return FusedMap(self, rows, columns, is_large)
