"""Batches of images or windows, the input of a method."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .windows import Margins, Window


@dataclass
class View:
    """A batch of images or windows of equal size, with their regions.

    Attributes:
        images: Normalised RGB ``[B, 3, H, W]``.
        regions: Region id of each pixel, int64 ``[B, H, W]``; None without region maps.
    """

    images: Tensor
    regions: Tensor | None = None

    def cut(self, window: Window) -> 'View':
        """Crop the view to a window."""
        rows, columns = slice(window.top, window.bottom), slice(window.left, window.right)
        regions = None if self.regions is None else self.regions[:, rows, columns]
        return View(self.images[:, :, rows, columns], regions)

    def pad(self, margins: Margins) -> 'View':
        """Pad with the mean colour. The padding is one more region, with the largest id."""
        if not any(map(any, margins)):
            return self
        rows, columns = margins
        edges = (*columns, *rows)
        regions = self.regions
        if regions is not None:
            regions = F.pad(regions, edges, value=int(regions.max()) + 1)
        return View(F.pad(self.images, edges), regions)

    def split(self) -> 'list[View]':
        """Return one view per image."""
        regions = [None] * len(self.images) if self.regions is None else self.regions.split(1)
        return [View(*each) for each in zip(self.images.split(1), regions)]

    @staticmethod
    def join(views: 'Sequence[View]') -> 'View':
        """Concatenate views of equal size."""
        regions = [view.regions for view in views if view.regions is not None]
        return View(
            torch.cat([view.images for view in views]),
            torch.cat(regions) if len(regions) == len(views) else None,
        )
