"""Positions of sliding windows."""

import math
from typing import NamedTuple

Size = tuple[int, int]
#: Pixels added to an image: above and below, left and right.
Margins = tuple[tuple[int, int], tuple[int, int]]


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


def window_grid(image_size: Size, crop_size: Size, stride: Size) -> list[Window]:
    """Return the windows that cover an image, row by row.

    Each side has ``max(side - crop + stride - 1, 0) // stride + 1`` windows. The last one is
    shifted back to end at the border; an image side below the crop size gives a smaller window
    (mmseg's slide inference).

    Args:
        image_size, crop_size, stride: Height and width in pixels.
    """
    rows, columns = (
        window_spans(side, crop, step) for side, crop, step in zip(image_size, crop_size, stride)
    )
    return [Window(top, left, bottom, right) for top, bottom in rows for left, right in columns]


def window_spans(side: int, crop: int, step: int) -> list[tuple[int, int]]:
    """Return the first pixel, and the one after the last, of each window along one side."""
    count = max(side - crop + step - 1, 0) // step + 1
    ends = [min(index * step + crop, side) for index in range(count)]
    return [(end - min(crop, side), end) for end in ends]


def pad_margins(image_size: Size, crop_size: Size | None, multiple: int, least: int = 1) -> Margins:
    """Return the padding that brings sides below the crop size to a multiple.

    Args:
        image_size: Height and width of the image in pixels.
        crop_size: Height and width of a window in pixels; None to pad sides of any length.
        multiple: Number of pixels that a side becomes a multiple of; 1 for no padding.
        least: Smallest padded side in pixels.
    """
    crops = crop_size or (math.inf, math.inf)
    missing = (
        max(least - side, -side % multiple if side < crop else 0)
        for side, crop in zip(image_size, crops)
    )
    rows, columns = ((total // 2, total - total // 2) for total in missing)
    return rows, columns
