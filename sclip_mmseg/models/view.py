"""Windows as a method sees them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .windows import Margins, Window


@dataclass
class View:
    """Equally large images, or windows of images, with what was cut along with them.

    Attributes:
        images: ``[B, 3, H, W]``, normalised RGB.
        regions: Id of the region of each pixel, int64 ``[B, H, W]``; None where there are none.
    """

    images: Tensor
    regions: Tensor | None = None

    def cut(self, window: Window) -> 'View':
        """The part of a view that a window shows."""
        rows, columns = slice(window.top, window.bottom), slice(window.left, window.right)
        regions = None if self.regions is None else self.regions[:, rows, columns]
        return View(self.images[:, :, rows, columns], regions)

    def pad(self, margins: Margins) -> 'View':
        """Add pixels of the mean colour, which are a region of their own, the one of largest id."""
        if not any(map(any, margins)):
            return self
        rows, columns = margins
        edges = (*columns, *rows)
        regions = self.regions
        if regions is not None:
            regions = F.pad(regions, edges, value=int(regions.max()) + 1)
        return View(F.pad(self.images, edges), regions)

    def split(self) -> 'list[View]':
        """A view of each image."""
        regions = [None] * len(self.images) if self.regions is None else self.regions.split(1)
        return [View(*each) for each in zip(self.images.split(1), regions)]

    @staticmethod
    def join(views: 'Sequence[View]') -> 'View':
        """Put equally large views into one batch."""
        regions = [view.regions for view in views if view.regions is not None]
        return View(
            torch.cat([view.images for view in views]),
            torch.cat(regions) if len(regions) == len(views) else None,
        )
