"""All windows of one image, and what a method that sees them together gives back."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..towers import Grid
from ..utils.torch_types import height_width
from .file_image import FileImage
from .fusion import CutImage, WindowAxis, WindowMaps
from .view import View
from .windows import Size, Window


@dataclass
class Picture:
    """One image with its windows.

    Attributes:
        image: The image as it is cut, ``image.view`` with its regions, and where its windows lie.
        size: Height and width of the image as in its file, in pixels.
        window_batch: Tells the largest number of windows of a size to encode at a time.
        file: The image as in its file; by default none, and methods that see it refuse that.
    """

    image: CutImage
    size: Size
    window_batch: Callable[[Size], int]
    file: FileImage = field(default_factory=lambda: FileImage(None))

    @property
    def view(self) -> View:
        """The whole image as one view."""
        return self.image.view

    def batches(self) -> Iterator[tuple[list[Window], View]]:
        """The windows, row by row, in batches that fit into memory, and where they lie."""
        step = self.window_batch(self.image.size)
        for start in range(0, len(self.image), step):
            numbers = range(start, min(start + step, len(self.image)))
            windows = [self.image.windows[number] for number in numbers]
            yield windows, View.join([self.image.cut(number) for number in numbers])


class Stitching:
    """Patches of windows laid on one grid of the picture; a cell is the mean of what lies on it.

    A window that does not begin at a multiple of a patch is laid at the cell before.

    Args:
        grid: Rows and columns of the picture's cells.
        patch: Their side in pixels.
        width: Of the patches' features.
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

    def mean(self) -> Tensor:
        """The cells, float32 ``[N, C]``, row by row."""
        return (self._sum / self._count).flatten(0, 1)


@dataclass
class PictureFeatures:
    """Features on a grid of the picture.

    Attributes:
        features: ``[h, w, D]``, of any length.
        direct: Whether their cosines are resized to the size of the file at once; else to the size
            that the method saw first.
    """

    features: Tensor
    direct: bool = False

    def maps(self, picture: Picture, text: Callable[[Tensor], Tensor]) -> WindowMaps:
        """Compare with text queries, ``[B, h, w, D]`` → ``[B, Q, h, w]``."""
        cells = text(self.features[None])[0].permute(1, 2, 0)
        sides, margins = height_width(picture.view.images), picture.image.margins
        if self.direct:
            sides, margins = picture.size, ((0, 0), (0, 0))
        rows, columns = map(WindowAxis, sides, sides, sides, cells.shape, margins)
        return WindowMaps(cells, (rows, columns))


@dataclass
class WindowFeatures:
    """Features, or scores of the queries, of the picture's windows.

    Attributes:
        values: ``[W, h, w, D]`` of any length, or scores ``[W, h, w, Q]``, float32.
        scored: Whether they are scores, which are not compared with the queries any more.
    """

    values: Tensor
    scored: bool = False

    def maps(self, picture: Picture, text: Callable[[Tensor], Tensor]) -> WindowMaps:
        """See :meth:`PictureFeatures.maps`."""
        values = self.values if self.scored else text(self.values).permute(0, 2, 3, 1)
        return picture.image.arrange(list(values))
