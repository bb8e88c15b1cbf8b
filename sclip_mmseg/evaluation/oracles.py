"""Oracles: results with known classes or known outlines, which show the cost of both."""

from typing import Any

import numpy as np
import torch
from mmseg.registry import METRICS
from torch import Tensor

from ..regions import build_regions
from ..utils.errors import InputError
from .confusion_metric import ConfusionMetric


class _Oracle(ConfusionMetric):
    """Counts modified predictions, and does not print the table of classes."""

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute aAcc, mIoU and mAcc."""
        values = self.make_result(results).metrics()
        return {key: value for key, value in values.items() if value == value}


@METRICS.register_module()
class KnownClassesOracle(_Oracle):
    """The segmentor's result if the classes that occur in each image are known.

    A pixel whose predicted class does not occur in the image's label gets the class with the
    highest score of those that do. The remaining errors are not due to the names of other classes.

    Args:
        **kwargs: See :class:`.ConfusionMetric`.
    """

    oracle = 'known-classes'

    def predict(self, sample: dict) -> Tensor:
        """The classes to count, int64 ``[H, W]``.

        Raises:
            InputError: If the segmentor does not return class scores.
        """
        prediction = sample['pred_sem_seg']['data'][0]
        if 'seg_logits' not in sample:
            raise InputError(
                'KnownClassesOracle needs class scores: set model.test_cfg.seg_logits=True'
            )
        scores = sample['seg_logits']['data']
        label = sample['gt_sem_seg']['data'][0].to(prediction.device)
        present = label[label != self.ignore_index].unique()
        if not len(present):
            return prediction
        best = present[scores[present].argmax(0)]
        return torch.where(torch.isin(prediction, present), prediction, best)


@METRICS.register_module()
class RegionOracle(_Oracle):
    """The result if each region of an image has the most frequent class of its label.

    The remaining errors are due to outlines that the regions do not follow.

    Args:
        regions: Pattern of files of region maps, or config of their generator, see
            :func:`..regions.build_regions`; None for Felzenszwalb's.
        **kwargs: See :class:`.ConfusionMetric`.
    """

    oracle = 'regions'

    def __init__(self, regions: str | dict | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.regions = build_regions(regions or dict(type='Felzenszwalb'))

    def predict(self, sample: dict) -> Tensor:
        """The classes to count, int64 ``[H, W]``."""
        label = sample['gt_sem_seg']['data'][0].cpu().numpy()
        path, raster = sample['img_path'], sample.get('map')
        regions = self.regions.load(path, label.shape, raster).numpy()
        num_classes = len(self.dataset_meta['classes'])
        return torch.from_numpy(best_classes(label, regions, num_classes, self.ignore_index))


def best_classes(
    label: np.ndarray, regions: np.ndarray, num_classes: int, ignore_index: int
) -> np.ndarray:
    """Give each region the most frequent class of its label.

    Args:
        label: Integers ``[H, W]``, 0 to K - 1 or ``ignore_index``.
        regions: Ids, integers ``[H, W]``; pixels outside all regions share an id, and count as one
            region.
        num_classes: Number of classes, K.
        ignore_index: Label of pixels that do not vote.

    Returns:
        Classes, int64 ``[H, W]``; the first of equally frequent ones.
    """
    ids, index = np.unique(regions, return_inverse=True)
    index = index.reshape(label.shape)
    counted = label != ignore_index
    cells = index[counted] * num_classes + label[counted]
    votes = np.bincount(cells, minlength=len(ids) * num_classes)
    return votes.reshape(len(ids), num_classes).argmax(1)[index]
