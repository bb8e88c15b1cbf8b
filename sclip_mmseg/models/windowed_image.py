"""All windows of one image, and what a method that sees them together gives back."""

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
from .view import View
from .watching import tell
from .windows import Size, Window

keep_old_names(__name__, Picture='WindowedImage', PictureFeatures='ImageFeatures')


@dataclass
class WindowedImage:
    """One image with its windows.

    Attributes:
        windows: Its windows, and the view they are cut from, with its regions.
        size: Height and width of the image as in its file, in pixels.
        window_batch: Tells the largest number of windows of a size to encode at a time.
        file: The image as in its file; by default none, and methods that see it refuse that.
        on_batch: Is told which windows are encoded next.
    """

    windows: CutImage
    size: Size
    window_batch: Callable[[Size], int]
    file: FileImage = field(default_factory=lambda: FileImage(None))
    on_batch: Callable[[list[Window]], None] = lambda windows: None

    image = OldAttribute('windows')

    @property
    def view(self) -> View:
        """The whole image as one view."""
        return self.windows.view

    @property
    def regions(self) -> Tensor:
        """The regions of :attr:`view` without its padding, numbered from 0 on, ``[H, W]``."""
        assert self.view.regions is not None
        [ids], ((above, below), (left, right)) = self.view.regions, self.windows.margins
        height, width = ids.shape
        ids = ids[above : height - below, left : width - right]
        return rank_ids(ids.reshape(1, -1)).view(ids.shape)

    def spread(self, coarse: Tensor) -> PixelFeatures:
        """A map ``[h, w, C]`` of the whole image, at the pixels of :attr:`view`."""
        rows, columns = self.windows.margins
        height, width = height_width(self.view.images)
        return PixelFeatures(coarse, (height - sum(rows), width - sum(columns)))

    def batches(self) -> Iterator[tuple[list[Window], View]]:
        """The windows, row by row, in batches that fit into memory, and where they lie."""
        step = self.window_batch(self.windows.size)
        for start in range(0, len(self.windows), step):
            numbers = range(start, min(start + step, len(self.windows)))
            windows = [self.windows.windows[number] for number in numbers]
            self.on_batch(windows)
            yield windows, View.join([self.windows.cut(number) for number in numbers])
            tell(numbers.stop, len(self.windows))


class Stitching:
    """Patches of windows laid on one grid of the image; a cell is the mean of what lies on it.

    A window that does not begin at a multiple of a patch is laid at the cell before.

    Args:
        grid: Rows and columns of the image's cells.
        patch: Their side in pixels.
        width: Channel width of the patches' features.
        device: Where they are.
    """

    def __init__(self, grid: Grid, patch: int, width: int, device: torch.device):
        self.grid, self.patch = grid, patch
        self._sum = torch.zeros(*grid, width, device=device)
        self._count = torch.zeros(*grid, 1, device=device)

    def add(self, windows: list[Window], patches: Tensor) -> None:
        """Lay patches ``[n, h, w, C]`` of n windows on the grid."""
        height, width = patches.shape[1:3]
        for window, each in zip(windows, patches):
            top, left = window.top // self.patch, window.left // self.patch
            cells = slice(top, top + height), slice(left, left + width)
            self._sum[cells] += each
            self._count[cells] += 1

    @property
    def covered(self) -> bool:
        """Whether something lies on every cell."""
        return bool(self._count.all())

    def mean(self) -> Tensor:
        """The cells, float32 ``[N, C]``, row by row."""
        return (self._sum / self._count).flatten(0, 1)


@dataclass
class AdjustedQueries:
    """The text queries as a method changed them for each of B windows.

    Attributes:
        embeddings: ``[B, Q, D]``. They are compared as they are, of any length: what they are
            multiplied by weighs the cosines.
        offsets: What is added, ``[B, Q]``.
    """

    embeddings: Tensor
    offsets: Tensor

    def of(self, number: int) -> 'AdjustedQueries':
        """Those of one window."""
        return AdjustedQueries(self.embeddings[number, None], self.offsets[number, None])

    @staticmethod
    def join(parts: 'Sequence[AdjustedQueries]') -> 'AdjustedQueries':
        """Put those of several batches into one."""
        return AdjustedQueries(
            torch.cat([part.embeddings for part in parts]),
            torch.cat([part.offsets for part in parts]),
        )


class Compare(Protocol):
    """Features → scores of the text queries, which the text head does."""

    def __call__(self, features: Tensor, adjusted: AdjustedQueries | None = None) -> Tensor:
        """Scores ``[B, Q, h, w]``, float32, of features ``[B, h, w, D]`` of any length."""


@dataclass
class ImageFeatures:
    """Features on a grid of the image.

    Attributes:
        features: ``[h, w, D]``, of any length.
        direct: Whether their cosines are resized to the size of the file at once; else to the size
            that the method saw first.
    """

    features: Tensor
    direct: bool = False

    def scores(self, text: Compare) -> Tensor:
        """Compare with text queries, to ``[1, Q, h, w]``."""
        return text(self.features[None])

    def maps(self, image: WindowedImage, text: Compare) -> WindowMaps:
        """Lay the scores of the queries out as they lie in the image."""
        cells = self.scores(text)[0].permute(1, 2, 0)
        sides, margins = height_width(image.view.images), image.windows.margins
        if self.direct:
            sides, margins = image.size, ((0, 0), (0, 0))
        rows, columns = map(WindowAxis, sides, sides, sides, cells.shape, margins)
        return WindowMaps(cells, (rows, columns))


@dataclass
class WindowFeatures:
    """Features, or scores of the queries, of the image's windows.

    Attributes:
        values: ``[W, h, w, D]`` of any length, or scores ``[W, h, w, Q]``, float32.
        scored: Whether they are scores, which are not compared with the queries any more.
        adjusted: The queries that the features of each window are compared with; None for those
            that the text head has.
    """

    values: Tensor
    scored: bool = False
    adjusted: AdjustedQueries | None = None

    @property
    def features(self) -> Tensor:
        """The features ``[h, w, D]`` of an only window.

        Raises:
            NotImplementedError: If there are scores alone.
        """
        if self.scored:
            raise NotImplementedError('the method gives scores of the queries, no features')
        [features] = self.values
        return features

    def scores(self, text: Compare) -> Tensor:
        """Compare with text queries, to ``[W, Q, h, w]``."""
        if self.scored:
            return self.values.permute(0, 3, 1, 2)
        return text(self.values) if self.adjusted is None else text(self.values, self.adjusted)

    def maps(self, image: WindowedImage, text: Compare) -> WindowMaps:
        """See :meth:`ImageFeatures.maps`."""
        return image.windows.arrange(list(self.scores(text).permute(0, 2, 3, 1)))
