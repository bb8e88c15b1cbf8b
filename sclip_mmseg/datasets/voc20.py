"""PASCAL VOC 2012 without its background class."""

from typing import Any

from mmseg.datasets import BaseSegDataset, PascalVOCDataset
from mmseg.registry import DATASETS


@DATASETS.register_module()
class PascalVOC20Dataset(BaseSegDataset):
    """VOC's 20 object classes; background pixels are ignored.

    It reads VOC's own label files, and maps id 0 (background) to the ignore index.

    Args:
        ann_file: Split file, relative to ``data_root``.
        reduce_zero_label: Must be True for VOC's label files.
        **kwargs: See :class:`mmseg.datasets.BaseSegDataset`.
    """

    #: Unlike other datasets with ``reduce_zero_label``, VOC stores 255 in its files, for borders.
    stores_ignore_index = True

    METAINFO = dict(
        classes=PascalVOCDataset.METAINFO['classes'][1:],
        palette=PascalVOCDataset.METAINFO['palette'][1:],
    )

    def __init__(self, ann_file: str, reduce_zero_label: bool = True, **kwargs: Any):
        super().__init__(ann_file=ann_file, reduce_zero_label=reduce_zero_label, **kwargs)
