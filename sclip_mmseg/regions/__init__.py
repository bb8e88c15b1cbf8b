"""Maps of regions: read from files or made from pictures, and used to correct labels.

A generator is called with a picture, RGB, uint8 ``[H, W, 3]``, and returns the ids of its regions,
int32 ``[H, W]``: 1 and so on, and 0 for pixels in no region. Ids rise with the area, so that the
lowest one, which its readers take for "in no region", is the smallest where no pixel is left out.
"""

from .base import Decided, find_generator, paint_masks, rank_by_area
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
    'Decided',
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
