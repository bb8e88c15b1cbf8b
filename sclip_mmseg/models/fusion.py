"""Fusion of the windows' maps into one map per image.

Every step between the text head and the decision is linear and separable into rows and columns:
resizing a window's map to the window, averaging where windows overlap, and resizing to the
original size. Together they are one matrix per axis, see :class:`FusedMap`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor

from ..old_names import keep_old_names
from ..utils.torch_types import height_width
from .axes import LARGE, AnyWeights, WindowAxis, axis_weights
from .progress import report_progress
from .view import View
from .window_cfg import WindowCfg
from .windows import Margins, Size, Window, pad_margins, window_grid, window_spans

keep_old_names(__name__, AxisWeights='models.axes.AxisWeights')

Tile = tuple[slice, slice, Tensor]
Wanted = Callable[[slice, slice], bool]


class QueryMap(Protocol):
    """An image's query map at its original size, which may be read several times."""

    @property
    def size(self) -> Size:
        """Height and width in pixels."""

    def tiles(self) -> Iterator[Tile]:
        """Yield rows, columns and values ``[h, w, Q]`` of tiles that cover the map."""


@dataclass
class RegionCells:
    """A map with one value per region and query, expanded to pixels where it is read.

    Attributes:
        ranks: Region of each pixel, int64 ``[H, W]``.
        values: Values of the regions, ``[R, Q]``.
    """

    ranks: Tensor
    values: Tensor

    def __len__(self) -> int:
        return len(self.ranks)

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W and Q."""
        return *height_width(self.ranks), self.values.shape[1]

    @property
    def device(self) -> torch.device:
        """Device of the values."""
        return self.values.device

    def __getitem__(self, pixels: tuple[slice, slice]) -> Tensor:
        return self.values[self.ranks[pixels]]


@dataclass
class WindowMaps:
    """Coarse maps of all windows of an image.

    Attributes:
        cells: Map values ``[I, J, Q]``: I is window rows × rows of a window's map; J likewise for
            columns.
        axes: The windows along the height and the width.
        support: Scores from a memory bank, at the working size: per query the score times its
            weight w, then w itself; the image's own score has the weight 1 - w. None without a
            memory.
    """

    cells: Tensor
    axes: tuple[WindowAxis, WindowAxis]
    support: RegionCells | None = None

    def fuse(self, size: Size | None = None, flip: Sequence[bool] = (False, False)) -> 'FusedMap':
        """Return the map that is resized, averaged and resized again when it is read.

        Args:
            size: Height and width in pixels; None for the image's own.
            flip: Whether to mirror the image vertically and horizontally before the last resizing.
        """
        height, width = size or (axis.side - sum(axis.margins) for axis in self.axes)
        asked, device = zip(self.axes, (height, width), flip), self.cells.device
        rows, columns = (axis_weights(*each, device) for each in asked)
        is_large = max(axis.side for axis in self.axes) > LARGE
        own = FusedMap(self.cells, rows, columns, is_large)
        if self.support is None:
            return own
        sides = height_width(self.support.ranks)
        support = resize_map(self.support, sides, (height, width), flip)
        return SupportedMap(own.cells, own.rows, own.columns, is_large, support)

    def pixels(self, size: Size, flip: Sequence[bool]) -> 'DenseMap | None':
        """Return the map of :meth:`fuse` if the cells are already its pixels; else None.

        That is the case for a single window whose map has the image's size.
        """
        for axis, side in zip(self.axes, size):
            if (axis.side, axis.crop, axis.cells, axis.margins) != (side, side, side, (0, 0)):
                return None
        mirrored = [axis for axis in (0, 1) if flip[axis]]
        return DenseMap(self.cells.flip(mirrored).permute(2, 0, 1))


def resize_map(
    cells: 'Tensor | RegionCells',
    sides: Size,
    size: Size | None = None,
    flip: Sequence[bool] = (False, False),
) -> 'FusedMap':
    """Resize a map of a whole image to the image's size, then to another size.

    Args:
        cells: Map ``[h, w, Q]``.
        sides: Height and width of the image in pixels.
        size, flip: See :meth:`WindowMaps.fuse`.
    """
    axes = (WindowAxis(side, side, side, count) for side, count in zip(sides, cells.shape))
    asked = zip(axes, size or sides, flip)
    rows, columns = (axis_weights(*each, cells.device) for each in asked)
    return FusedMap(cells, rows, columns, is_large=False)


@dataclass
class CutImage:
    """An image with the positions of its windows.

    Attributes:
        view: The padded image.
        crop_size: Height and width of a window in pixels.
        stride: Step between windows, down and across, in pixels.
        margins: Padding of the image, cropped from the fused map.
        windows: Boxes of the windows in the padded image, row by row, all of the same size.
    """

    view: View
    crop_size: Size
    stride: Size
    margins: Margins
    windows: list[Window]

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def size(self) -> Size:
        """Height and width of a window in pixels."""
        return self.windows[0].size

    def cut(self, number: int) -> View:
        """Return one window."""
        return self.view.cut(self.windows[number])

    def arrange(self, parts: list[Tensor], align_corners: bool = False) -> WindowMaps:
        """Place the windows' maps ``[h', w', Q]`` in the image."""
        size, corners = height_width(self.view.images), (align_corners, align_corners)
        given = size, self.crop_size, self.stride, parts[0].shape, self.margins, corners
        down, across = map(WindowAxis, *given)
        count = len(window_spans(*across[:3]))
        rows = [torch.cat(parts[i : i + count], 1) for i in range(0, len(parts), count)]
        return WindowMaps(torch.cat(rows), (down, across))


def cut_windows(view: View, windows: WindowCfg) -> CutImage:
    """Pad an image as configured and compute its windows."""
    size = height_width(view.images)
    crop = windows.crop_size if windows.mode == 'slide' else None
    margins = pad_margins(size, crop, windows.pad_multiple, windows.min_size)
    view = view.pad(margins)
    size = height_width(view.images)
    crop_size, stride = windows.sizes(size)
    return CutImage(view, crop_size, stride, margins, window_grid(size, crop_size, stride))


class Cells(Protocol):
    """Coarse maps of an image's windows ``[I, J, Q]``, possibly computed where they are read."""

    @property
    def shape(self) -> Sequence[int]:
        """I, J and Q."""

    @property
    def device(self) -> torch.device:
        """Device of the values."""

    def __getitem__(self, cells: tuple[slice, slice]) -> Tensor:
        """Return the values of some rows and columns."""


@dataclass
class FusedMap:
    """The map ``rows · cells · columnsᵀ`` ``[Q, H, W]``, computed where it is read.

    Attributes:
        cells: Coarse maps, see :class:`WindowMaps`.
        rows, columns: Weights of the two axes.
        is_large: Whether to compute small tiles, each from only the cells it depends on, so that
            the whole map and a part of it give the same numbers.
    """

    cells: Cells
    rows: AnyWeights
    columns: AnyWeights
    is_large: bool

    @property
    def size(self) -> Size:
        """Height and width in pixels."""
        return self.rows.length, self.columns.length

    def _tile_size(self) -> Size:
        queries, limit = self.cells.shape[-1], tile_limit(self.cells.device)
        if self.is_large:
            return (small_tile(self.cells.device),) * 2
        strip = max(limit // (2 * self.cells.shape[0] * queries), 32)
        return max(limit // (min(strip, self.size[1]) * queries), 1), strip

    def whole(self) -> Tensor:
        """Return the whole map ``[Q, H, W]``, in memory as ``[H, W, Q]``."""
        [(_, _, tile)] = self.cut(*self.size)
        return tile.permute(2, 0, 1)

    def tiles(self) -> Iterator[Tile]:
        """Yield rows, columns and values ``[h, w, Q]`` of tiles that cover the map."""
        yield from self.tiles_of(slice(0, self.size[0]))

    def tiles_of(
        self, pixels: slice, wanted: Wanted = lambda rows, columns: True
    ) -> Iterator[Tile]:
        """Yield the tiles of :meth:`tiles` that overlap some rows, cropped to these rows.

        Args:
            pixels: The rows.
            wanted: Function of a tile's rows and columns; tiles for which it is false are skipped.
        """
        height, width = self._tile_size()
        last = min(-(-pixels.stop // height) * height, self.size[0])
        whole = slice(pixels.start // height * height, last)
        parts = [(whole, slice(0, self.cells.shape[0]))]
        if self.is_large:
            parts = [(rows, self.rows.cut(rows)[1]) for rows in _pieces(whole, height)]
        for rows, seen in parts:
            for part, columns, tile in self._cut(rows, height, width, seen, wanted):
                kept = slice(max(part.start, pixels.start), min(part.stop, pixels.stop))
                yield kept, columns, tile[kept.start - part.start : kept.stop - part.start]

    def cut(self, height: int, width: int) -> Iterator[Tile]:
        """Yield tiles of at most this height and width."""
        yield from self._cut(slice(0, self.size[0]), height, width, slice(0, self.cells.shape[0]))

    def _cut(
        self,
        pixels: slice,
        height: int,
        width: int,
        seen: slice,
        wanted: Wanted = lambda rows, columns: True,
    ) -> Iterator[Tile]:
        """Yield tiles of some rows of pixels, computed from some rows of cells."""
        for columns in _pieces(slice(0, self.size[1]), width):
            if not wanted(pixels, columns):
                continue
            weights, cells = self.columns.cut(columns)
            part = self.cells[seen, cells]
            if self.is_large:  # numbers must not depend on the memory around the operands
                weights, part = weights.contiguous(), part.contiguous()
            wide = weights @ part  # [I, w, Q]
            for rows in filter(lambda rows: wanted(rows, columns), _pieces(pixels, height)):
                weights, cells = self.rows.cut(rows)
                if self.is_large:
                    weights = weights.contiguous()
                own = wide[cells.start - seen.start : cells.stop - seen.start]
                tile = weights @ own.flatten(1)
                yield rows, columns, tile.unflatten(1, wide.shape[1:])


@dataclass
class SupportedMap(FusedMap):
    """A map combined with the scores from a memory bank.

    Attributes:
        support: Scores and weight at the map's size, see :attr:`WindowMaps.support`.
    """

    support: FusedMap

    def tiles(self) -> Iterator[Tile]:
        """See :class:`FusedMap`. Tiles are small, so that each depends on few region cells."""
        yield from self.cut(*(small_tile(self.cells.device),) * 2)

    def cut(self, height: int, width: int) -> Iterator[Tile]:
        """See :class:`FusedMap`."""
        pairs = zip(super().cut(height, width), self.support.cut(height, width))
        for (rows, columns, own), (_, _, added) in pairs:
            yield rows, columns, own * (1 - added[..., -1:]) + added[..., :-1]


@dataclass
class DenseMap:
    """A map stored in full.

    Attributes:
        values: Map ``[Q, H, W]``.
    """

    values: Tensor

    @property
    def size(self) -> Size:
        """Height and width in pixels."""
        return height_width(self.values)

    def whole(self) -> Tensor:
        """Return the whole map ``[Q, H, W]``."""
        return self.values

    def tiles(self) -> Iterator[Tile]:
        """Yield rows, columns and values ``[h, w, Q]`` of tiles that cover the map."""
        queries, height, width = self.values.shape
        for rows in _pieces(
            slice(0, height), max(tile_limit(self.values.device) // (queries * width), 1)
        ):
            yield rows, slice(0, width), self.values[:, rows].permute(1, 2, 0)


def tile_limit(device: torch.device) -> int:
    """Number of elements of a tile: fits a CPU's cache, or keeps another device busy."""
    return 1 << 20 if device.type == 'cpu' else 1 << 26


def small_tile(device: torch.device) -> int:
    """Side in pixels of a tile that depends on few cells."""
    return 64 if device.type == 'cpu' else 512


def _pieces(pixels: slice, step: int) -> Iterator[slice]:
    starts = range(pixels.start, pixels.stop, step)
    return (slice(start, min(start + step, pixels.stop)) for start in starts)


def encode_windows(
    views: Sequence[View],
    encode: Callable[[View], Tensor],
    windows: WindowCfg,
    window_batch: Callable[[Size], int],
    align_corners: bool = False,
) -> list[WindowMaps]:
    """Encode the windows of images of any sizes, in batches of windows of equal size.

    Args:
        views: One image per view.
        encode: Function from windows to coarse maps ``[n, Q, h', w']``.
        windows: How windows are cut.
        window_batch: Returns the largest number of windows of a size to encode at a time.
        align_corners: Whether the outer cells of a window's map lie at the window's corners.

    Returns:
        The maps of each image.
    """
    images = [cut_windows(view, windows) for view in views]
    jobs = [(index, number) for index, image in enumerate(images) for number in range(len(image))]
    jobs.sort(key=lambda job: images[job[0]].size)  # all windows of an image have one size
    maps: list[list[Tensor]] = [[] for _ in views]
    for size, jobs_of_size in groupby(jobs, key=lambda job: images[job[0]].size):
        same, step = list(jobs_of_size), window_batch(size)
        for start in range(0, len(same), step):
            batch = same[start : start + step]
            joined = View.join([images[index].cut(number) for index, number in batch])
            for (index, _), coarse in zip(batch, encode(joined)):
                maps[index].append(coarse.permute(1, 2, 0))
            report_progress(sum(map(len, maps)), len(jobs))
    return [image.arrange(parts, align_corners) for image, parts in zip(images, maps)]


def resize_maps(coarse: Tensor, size: Size) -> Tensor:
    """Resize ``[B, Q, h, w]`` bilinearly to ``[B, Q, *size]``, in memory as ``[B, H, W, Q]``."""
    down, across = map(WindowAxis, size, size, size, coarse.shape[2:])
    cells = coarse.permute(2, 3, 0, 1).flatten(2)  # all images' queries side by side
    fused = WindowMaps(cells, (down, across)).fuse().whole()
    return fused.unflatten(0, coarse.shape[:2])
