"""Maps resized to the size at which windows are cut from them, read row by row."""

from __future__ import annotations

import numpy as np

from .grid import Block
from .reading import Raster

_READ = 1 << 26  # bytes of pixels that are read at a time
_BITS = 11  # of an interpolation weight, as in OpenCV


class ResizedRows:
    """A map resized row by row, identical to bilinear ``cv2.resize`` (without antialiasing).

    Args:
        raster: The map.
        size: Height and width after resizing.
    """

    def __init__(self, raster: Raster, size: tuple[int, int]):
        self.raster, self.size = raster, size
        self.own = raster.grid.height, raster.grid.width

    def read(self, top: int, bottom: int) -> tuple[np.ndarray, np.ndarray]:
        """Read the rows from ``top`` to ``bottom`` (excluded) of the resized map.

        Returns:
            RGB image, uint8 ``[n, w, 3]``; and whether a pixel contains any data, bool ``[n, w]``.
        """
        width = self.own[1]
        if self.size == self.own:
            return self.raster.read(Block(top, 0, bottom, width))
        scale = self.own[0] / self.size[0]
        step = max(int(_READ / (3 * width * scale)), 1)
        parts = [
            self._resize(start, min(start + step, bottom)) for start in range(top, bottom, step)
        ]
        images, seen = zip(*parts)
        return np.concatenate(images), np.concatenate(seen)

    def _resize(self, top: int, bottom: int) -> tuple[np.ndarray, np.ndarray]:
        (own_height, own_width), (height, width) = self.own, self.size
        first = max(top * own_height // height - 1, 0)
        last = min(-(-bottom * own_height // height) + 2, own_height)
        image, valid = self.raster.read(Block(first, 0, last, own_width))
        rows = np.arange(top, bottom)
        downs = rows * own_height // height - first
        acrosses = np.arange(width) * own_width // width
        seen = np.logical_or.reduceat(np.logical_or.reduceat(valid, acrosses, 1), downs, 0)
        if self.own == (2 * height, 2 * width):  # OpenCV averages four pixels in this case
            inner = image[2 * top - first : 2 * bottom - first].astype(np.uint16)
            total = inner[::2, ::2] + inner[1::2, ::2] + inner[::2, 1::2] + inner[1::2, 1::2]
            return ((total + 2) >> 2).astype(np.uint8), seen
        lower, upper, high = _weigh(rows, own_height, height)
        left, right, far = _weigh(np.arange(width), own_width, width)
        one = 1 << _BITS
        far, high = far[:, None], high[:, None, None]
        wide = [image[side - first] for side in (lower, upper)]
        wide = [(each[:, left] * (one - far) + each[:, right] * far) >> 4 for each in wide]
        total = ((one - high) * wide[0] >> 16) + (high * wide[1] >> 16)
        return ((total + 2) >> 2).astype(np.uint8), seen


def _weigh(places: np.ndarray, own: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source pixels and weights for resizing one side.

    Args:
        places: Pixel indices in the resized side.
        own, size: Length of the side before and after resizing.

    Returns:
        The two source pixels of each, and the weight of the second in units of ``1 / (1 << 11)``,
        rounded like OpenCV.
    """
    real = ((places + 0.5) * (own / size) - 0.5).astype(np.float32)
    floor = np.floor(real)
    before = floor.astype(np.int64)
    share = np.rint((real - floor) * np.float32(1 << _BITS)).astype(np.int32)
    return before.clip(0, own - 1), (before + 1).clip(0, own - 1), share
