"""An image with all its windows, and the output of methods that see them together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ..old_names import OldAttribute, keep_old_names
from ..regions import rank_ids
from ..towers import Grid
from ..utils.torch_types import height_width
from .axes import WindowAxis
from .file_image import FileImage
from .fusion import CutImage, WindowMaps
from .pixel_features import PixelFeatures
from .progress import report_progress
from .view import View
from .windows import Size, Window

keep_old_names(__name__, Picture='WindowedImage', PictureFeatures='ImageFeatures')


@dataclass
class WindowedImage:
    """One image with its windows.

    Attributes:
        windows: The windows, and the view they are cut from, with its regions.
        size: Height and width of the image file in pixels.
        window_batch: Returns the largest number of windows of a size to encode at a time.
        file: The image at the size of its file. By default none, which methods that need it refuse.
        on_batch: Called with the windows that are encoded next.
    """

    windows: CutImage
    size: Size
    window_batch: Callable[[Size], int]
    file: FileImage = field(default_factory=lambda: FileImage(None))
    on_batch: Callable[[list[Window]], None] = lambda windows: None

    image = OldAttribute('windows')
    spread = OldAttribute('pixel_features')

    @property
    def view(self) -> View:
        """The whole image as one view."""
        return self.windows.view

    @property
    def regions(self) -> Tensor:
        """The regions of :attr:`view` without its padding, numbered from 0, ``[H, W]``."""
        assert self.view.regions is not None
        [ids], ((above, below), (left, right)) = self.view.regions, self.windows.margins
        height, width = ids.shape
        ids = ids[above : height - below, left : width - right]
        return rank_ids(ids.reshape(1, -1)).view(ids.shape)

    def pixel_features(self, coarse: Tensor) -> PixelFeatures:
        """Resize a map ``[h, w, C]`` of the whole image to the pixels of :attr:`view`."""
        rows, columns = self.windows.margins
        height, width = height_width(self.view.images)
        return PixelFeatures(coarse, (height - sum(rows), width - sum(columns)))

    def batches(self) -> Iterator[tuple[list[Window], View]]:
        """Yield boxes and pixels of the windows, row by row, in batches that fit into memory."""
        step = self.window_batch(self.windows.size)
        for start in range(0, len(self.windows), step):
            numbers = range(start, min(start + step, len(self.windows)))
            windows = [self.windows.windows[number] for number in numbers]
            self.on_batch(windows)
            yield windows, View.join([self.windows.cut(number) for number in numbers])
            report_progress(numbers.stop, len(self.windows))


class Stitching:
    """Stitches patch features of windows into one grid over the image.

    A cell is the mean of all patches placed on it. A window whose edge is not a multiple of the
    patch size is placed at the preceding cell.

    Args:
        grid: Rows and columns of the grid.
        patch: Side of a cell in pixels.
        width: Channel width of the features.
        device: Device of the grid.
    """

    def __init__(self, grid: Grid, patch: int, width: int, device: torch.device):
        self.grid, self.patch = grid, patch
        self._sum = torch.zeros(*grid, width, device=device)
        self._count = torch.zeros(*grid, 1, device=device)

    def add(self, windows: list[Window], patches: Tensor) -> None:
        """Add the patches ``[n, h, w, C]`` of n windows."""
        height, width = patches.shape[1:3]
        for window, each in zip(windows, patches):
            top, left = window.top // self.patch, window.left // self.patch
            cells = slice(top, top + height), slice(left, left + width)
            self._sum[cells] += each
            self._count[cells] += 1

    @property
    def covered(self) -> bool:
        """Whether every cell has a patch."""
        return bool(self._count.all())

    def mean(self) -> Tensor:
        """Return the cells, float32 ``[N, C]``, row by row."""
        return (self._sum / self._count).flatten(0, 1)


@dataclass
class AdjustedQueries:
    """Text queries that a method adjusted to each of B windows.

    Attributes:
        embeddings: Embeddings ``[B, Q, D]``. They are not normalised, so a factor on an embedding
            weights its cosines.
        offsets: Values added to the scores, ``[B, Q]``.
    """

    embeddings: Tensor
    offsets: Tensor

    of = OldAttribute('for_window')

    def for_window(self, number: int) -> 'AdjustedQueries':
        """Return the queries of one window, with B = 1."""
        return AdjustedQueries(self.embeddings[number, None], self.offsets[number, None])

    @staticmethod
    def join(parts: 'Sequence[AdjustedQueries]') -> 'AdjustedQueries':
        """Concatenate the queries of several batches."""
        return AdjustedQueries(
            torch.cat([part.embeddings for part in parts]),
            torch.cat([part.offsets for part in parts]),
        )


class Compare(Protocol):
    """Computes the scores of the text queries from features, as the text head does."""

    def __call__(self, features: Tensor, adjusted: AdjustedQueries | None = None) -> Tensor:
        """Return scores ``[B, Q, h, w]``, float32, of features ``[B, h, w, D]`` of any norm."""


@dataclass
class ImageFeatures:
    """Features on a grid over the image.

    Attributes:
        features: Features ``[h, w, D]`` of any norm.
        direct: Whether their cosines are resized directly to the size of the file; else they are
            first resized to the working size.
    """

    features: Tensor
    direct: bool = False

    def scores(self, text: Compare) -> Tensor:
        """Compute the scores of the text queries, ``[1, Q, h, w]``."""
        return text(self.features[None])

    def maps(self, image: WindowedImage, text: Compare) -> WindowMaps:
        """Compute the scores of the text queries and place them in the image."""
        cells = self.scores(text)[0].permute(1, 2, 0)
        sides, margins = height_width(image.view.images), image.windows.margins
        if self.direct:
            sides, margins = image.size, ((0, 0), (0, 0))
        rows, columns = map(WindowAxis, sides, sides, sides, cells.shape, margins)
        return WindowMaps(cells, (rows, columns))


@dataclass
class WindowFeatures:
    """Features, or scores of the queries, of W windows.

    Attributes:
        values: Features ``[W, h, w, D]`` of any norm, or scores ``[W, h, w, Q]``, float32.
        scored: Whether ``values`` are scores.
        adjusted: Queries that the features of each window are compared with; None for the text
            head's.
    """

    values: Tensor
    scored: bool = False
    adjusted: AdjustedQueries | None = None

    @property
    def features(self) -> Tensor:
        """The features ``[h, w, D]`` of a single window.

        Raises:
            NotImplementedError: If the method returned scores.
        """
        if self.scored:
            raise NotImplementedError('the method returns scores of the queries, not features')
        [features] = self.values
        return features

    def scores(self, text: Compare) -> Tensor:
        """Compute the scores of the text queries, ``[W, Q, h, w]``."""
        if self.scored:
            return self.values.permute(0, 3, 1, 2)
        return text(self.values) if self.adjusted is None else text(self.values, self.adjusted)

    def maps(self, image: WindowedImage, text: Compare) -> WindowMaps:
        """See :meth:`ImageFeatures.maps`."""
        return image.windows.arrange(list(self.scores(text).permute(0, 2, 3, 1)))
