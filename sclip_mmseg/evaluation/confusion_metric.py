"""mmseg's IoU metric, which keeps the confusion matrix of each image."""

from __future__ import annotations

from typing import Any, Sequence

import torch
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from torch import Tensor

from ..utils.errors import InputError
from .result import MAX_CLASSES, Result

_MOST_BINS = 1 << 22  # of bincount; more classes are sorted instead


@METRICS.register_module()
class ConfusionMetric(IoUMetric):
    """mmseg's ``IoUMetric``, with the same table, which counts label by prediction.

    Counts are integers per image, made on the device of the prediction.

    Args:
        out_file: Where to save the :class:`Result`. ``ResumableTestLoop`` saves one as
            ``result.npz`` in the work directory without it.
        **kwargs: See :class:`mmseg.evaluation.IoUMetric`.

    Attributes:
        result: The result of the last evaluation, on the first process.
    """

    def __init__(self, out_file: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.out_file = out_file
        self.result: Result | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count a batch; see :class:`mmseg.evaluation.IoUMetric`.

        ``results`` gets a pair per image: its path, and its counts, int64 ``[3, m]``.

        Raises:
            InputError: If a label has ids outside the classes.
        """
        first = len(self.results)
        super().process(data_batch, data_samples)
        for place in range(first, len(self.results)):
            self.results[place] = data_samples[place - first]['img_path'], self.results[place]

    def intersect_and_union(
        self, pred_label: Tensor, label: Tensor, num_classes: int, ignore_index: int
    ) -> Tensor:
        """Count pixels by label and prediction, in place of what the base class counts.

        Args:
            pred_label: Predicted classes, integers ``[H, W]``.
            label: Classes of the label, integers ``[H, W]``.
            num_classes: K.
            ignore_index: Label of pixels that do not count.

        Returns:
            See :func:`count_pairs`.
        """
        return count_pairs(label, pred_label, num_classes, ignore_index)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute what ``IoUMetric`` computes, and log its table.

        Returns:
            As of ``IoUMetric``, without means of which no class has a value.
        """
        if self.format_only:
            return super().compute_metrics(results)
        images, counts = zip(*results) if results else ((), ())
        counts = [count.numpy() for count in counts]
        result = Result.from_counts(images, counts, self.dataset_meta['classes'])
        areas = torch.from_numpy(result.areas()).float()
        metrics = super().compute_metrics([tuple(each) for each in areas])
        self.result = result
        if self.out_file:
            result.save(self.out_file)
        return {key: float(value) for key, value in metrics.items() if value == value}


def count_pairs(label: Tensor, prediction: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """Count the pixels of each pair of label and prediction that occurs.

    Args:
        label: Integers of any shape.
        prediction: Integers of the same shape, 0 to K - 1.
        num_classes: K.
        ignore_index: Label of pixels that do not count.

    Returns:
        Label, prediction and pixels, int64 ``[3, m]`` on the CPU, by ascending label, then
        prediction.

    Raises:
        InputError: If an id lies outside the classes.
    """
    if num_classes > MAX_CLASSES:
        raise InputError(f'{num_classes} classes are more than the {MAX_CLASSES} that are counted')
    counted = label != ignore_index
    label, prediction = label[counted].long(), prediction[counted].long()
    if label.numel():
        ends = torch.stack([*label.aminmax(), *prediction.aminmax()]).tolist()
        if min(ends) < 0 or max(ends) >= num_classes:
            raise InputError(
                f'labels from {ends[0]} to {ends[1]} and predictions from {ends[2]} to {ends[3]} '
                f'are not all of the {num_classes} classes'
            )
    pairs = label * num_classes + prediction
    if num_classes**2 <= _MOST_BINS:
        pixels = torch.bincount(pairs, minlength=num_classes**2).cpu()
        [pairs] = pixels.nonzero(as_tuple=True)
        pixels = pixels[pairs]
    else:
        pairs, pixels = (found.cpu() for found in pairs.unique(return_counts=True))
    return torch.stack([pairs // num_classes, pairs % num_classes, pixels])
