"""Region maps: read from files or generated from images, and used to correct labels.

A generator is called with an image, RGB, uint8 ``[H, W, 3]``, and returns the region ids, int32
``[H, W]``, starting at 1, with 0 for pixels in no region. Ids increase with the area: consumers
treat the lowest id as "in no region", which is the smallest region if no pixel is 0.
"""

from .base import CorrectionInputs, find_generator, paint_masks, rank_by_area
from .felzenszwalb import Felzenszwalb
from .maps import (
    ARRAY,
    GeneratedRegions,
    RegionFiles,
    RegionMajority,
    build_regions,
    check_regions,
    majority_labels,
    rank_ids,
    resize_nearest,
)
from .sam import SAM, SAM2

__all__ = [
    'ARRAY',
    'SAM',
    'SAM2',
    'CorrectionInputs',
    'Felzenszwalb',
    'GeneratedRegions',
    'RegionFiles',
    'RegionMajority',
    'build_regions',
    'check_regions',
    'find_generator',
    'majority_labels',
    'paint_masks',
    'rank_by_area',
    'rank_ids',
    'resize_nearest',
]
