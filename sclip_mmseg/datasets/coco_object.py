"""COCO-Object: COCO's 80 thing classes and background."""

from typing import Any

from mmseg.datasets import BaseSegDataset, COCOStuffDataset
from mmseg.registry import DATASETS

from .palette import voc_palette


@DATASETS.register_module()
class COCOObjectDataset(BaseSegDataset):
    """COCO-Object: background and the 80 thing classes of COCO.

    Labels are ``*_instanceTrainIds.png``, which ``tools/prepare_data.py`` writes from COCO-Stuff's
    pixel maps: 0 for background (including void), 1 to 80 for things.

    Args:
        seg_map_suffix: Suffix of the label files.
        **kwargs: See :class:`mmseg.datasets.BaseSegDataset`.
    """

    METAINFO = dict(
        classes=('background', *COCOStuffDataset.METAINFO['classes'][:80]),
        palette=voc_palette(81),
    )

    def __init__(self, seg_map_suffix: str = '_instanceTrainIds.png', **kwargs: Any):
        super().__init__(seg_map_suffix=seg_map_suffix, **kwargs)
