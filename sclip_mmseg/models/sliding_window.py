"""Sliding windows: where they lie, and how their maps become one map."""

from itertools import groupby
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

Size = Tuple[int, int]


class Window(NamedTuple):
    """Pixel rows ``top:bottom`` and columns ``left:right`` of an image."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> Size:
        """Height and width in pixels."""
        return self.bottom - self.top, self.right - self.left


def window_grid(image_size: Size, crop_size: Size, stride: Size) -> List[Window]:
    """Cover an image with windows, row by row.

    Along each side there are ``max(side - crop + stride - 1, 0) // stride + 1`` windows. The last
    one is shifted back to end at the border; an image side below the crop gives a smaller window
    (mmseg's slide inference).

    Args:
        image_size, crop_size, stride: Height and width in pixels.
    """
    rows, columns = (
        [(end - min(crop, side), end) for end in _window_ends(side, crop, step)]
        for side, crop, step in zip(image_size, crop_size, stride)
    )
    return [Window(top, left, bottom, right) for top, bottom in rows for left, right in columns]


def _window_ends(side: int, crop: int, step: int) -> List[int]:
    count = max(side - crop + step - 1, 0) // step + 1
    return [min(index * step + crop, side) for index in range(count)]


def window_counts(image_size: Size, windows: Sequence[Window], device=None) -> Tensor:
    """Number of windows over each pixel, float32 ``[H, W]``."""
    counts = torch.zeros(image_size, device=device)
    for top, left, bottom, right in windows:
        counts[top:bottom, left:right] += 1
    return counts


def slide_inference(
    images: Sequence[Tensor],
    encode: Callable[[Tensor], Tensor],
    crop_size: Optional[Size],
    stride: Optional[Size],
    window_batch: int,
) -> List[Tensor]:
    """Compute the maps of images of any sizes from batches of equally large windows.

    Args:
        images: Images ``[3, H, W]``.
        encode: Windows ``[n, 3, h, w]`` → coarse maps ``[n, Q, h', w']``.
        crop_size, stride: Height and width in pixels; None for one window over the whole image.
        window_batch: Largest number of windows encoded at a time.

    Returns:
        For each image the mean ``[Q, H, W]`` over all windows' maps, each resized bilinearly to its
        window.
    """
    sizes = [tuple(image.shape[-2:]) for image in images]
    grids = [window_grid(size, crop_size or size, stride or size) for size in sizes]
    jobs = [(index, window) for index, grid in enumerate(grids) for window in grid]
    jobs.sort(key=lambda job: job[1].size)
    totals: List[Optional[Tensor]] = [None] * len(images)
    for size, group in groupby(jobs, key=lambda job: job[1].size):
        group = list(group)
        for start in range(0, len(group), window_batch):
            batch = group[start : start + window_batch]
            crops = torch.stack(
                [images[i][:, w.top : w.bottom, w.left : w.right] for i, w in batch]
            )
            for (index, window), coarse in zip(batch, encode(crops)):
                fine = F.interpolate(coarse[None], size, mode='bilinear', align_corners=False)[0]
                if totals[index] is None:
                    totals[index] = fine.new_zeros(len(fine), *sizes[index])
                top, left, bottom, right = window
                totals[index][:, top:bottom, left:right] += fine
    for total, size, grid in zip(totals, sizes, grids):
        total /= window_counts(size, grid, total.device)
    return totals
