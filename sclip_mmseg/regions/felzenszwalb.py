"""Regions of similar colour, without a network or weights."""

import cv2
import numpy as np

from ..registry import REGION_GENERATORS
from ..utils.errors import InputError
from .base import rank_by_area


@REGION_GENERATORS.register_module()
class Felzenszwalb:
    """Felzenszwalb and Huttenlocher, *Efficient Graph-Based Image Segmentation*, IJCV 2004.

    Every pixel is in a region. The segmentation is scikit-image's.

    Args:
        scale: Scale of observation; larger values give larger regions.
        sigma: Standard deviation of the Gaussian that smooths the image first, in pixels.
        min_size: Minimum size of a region in pixels.
        short_side: Short side in pixels to which the image is resized first, so that regions are
            not finer than a network can resolve; None for the original size.

    Raises:
        InputError: If a value is out of range.
    """

    #: Whether several processes may generate maps in parallel.
    parallel = True

    def __init__(
        self,
        scale: float = 100.0,
        sigma: float = 0.8,
        min_size: int = 50,
        short_side: int | None = None,
    ):
        values = dict(scale=scale, sigma=sigma, min_size=min_size, short_side=short_side or 0)
        for name, value in values.items():
            if not isinstance(value, (int, float)) or value < 0:
                raise InputError(f'region_masks.{name}={value!r} must be a number, at least 0')
        self.short_side = short_side
        self.options = dict(scale=scale, sigma=sigma, min_size=int(min_size))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Generate the map of an image, RGB, uint8 ``[H, W, 3]``: int32 ``[H, W]``, from 1."""
        from skimage.segmentation import felzenszwalb  # takes a second to import

        height, width = image.shape[:2]
        if self.short_side:
            factor = self.short_side / min(height, width)
            size = round(width * factor), round(height * factor)
            how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
            image = cv2.resize(image, size, interpolation=how)
        ids = felzenszwalb(image, channel_axis=-1, **self.options)
        if self.short_side:
            ids = cv2.resize(ids.astype(np.int32), (width, height), interpolation=cv2.INTER_NEAREST)
        return rank_by_area(ids)
