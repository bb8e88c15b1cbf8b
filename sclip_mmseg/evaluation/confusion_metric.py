"""mmseg's ``IoUMetric``, which also keeps the confusion matrix of each image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from PIL import Image
from torch import Tensor

from ..datasets.label_ids import ids_in_files
from ..utils.errors import InputError
from .boundary import count
from .result import MAX_CLASSES, Result

OUT_IDS = 'labels', 'classes'
_MOST_BINS = 1 << 22  # for bincount; pairs of more classes are sorted instead


@METRICS.register_module()
class ConfusionMetric(IoUMetric):
    """mmseg's ``IoUMetric``, with the same output, which counts pairs of label and prediction.

    Counts are integers per image, computed on the device of the prediction.

    Args:
        out_file: Path to which the :class:`Result` is saved. ``ResumableTestLoop`` always saves it
            as ``result.npz`` in the work directory.
        out_ids: Values of the label maps in ``output_dir``: ``'labels'``, the ids of label files
            (class index plus 1 if the dataset has ``reduce_zero_label``), or ``'classes'``.
        boundary_ratio: Width of boundaries for Boundary IoU as a share of the image's diagonal,
            such as 0.02; None not to compute it. See :func:`.boundary.count`.
        **kwargs: See :class:`mmseg.evaluation.IoUMetric`.

    Attributes:
        result: The result of the last evaluation, in the first process.
        output_names: Path of an image → name of its label map; by default the image's file name.

    Raises:
        InputError: If ``out_ids`` is unknown, or ``boundary_ratio`` is not between 0 and 1.
    """

    #: Name of an oracle, which is part of the file name of its result; empty for other metrics.
    oracle = ''

    def __init__(
        self,
        out_file: str | None = None,
        out_ids: str = 'labels',
        boundary_ratio: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if out_ids not in OUT_IDS:
            raise InputError(f'out_ids={out_ids!r}: use one of {", ".join(OUT_IDS)}')
        if boundary_ratio is not None and not 0 < boundary_ratio < 1:
            raise InputError(
                f'test_evaluator.boundary_ratio={boundary_ratio!r}: use a share of the diagonal '
                'such as 0.02, or None'
            )
        self.out_file, self.out_ids, self.boundary_ratio = out_file, out_ids, boundary_ratio
        self.result: Result | None = None
        self.output_names: Mapping[str, str] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count a batch, and write its label maps; see :class:`mmseg.evaluation.IoUMetric`.

        ``results`` gets a tuple per image: its path, its counts, int64 ``[3, m]``, and with a
        ``boundary_ratio`` those of boundaries, int64 ``[4, m]``.

        Raises:
            InputError: If a label has ids outside the classes.
        """
        for sample in data_samples:
            prediction = self.predict(sample)
            if not self.format_only:
                label = sample['gt_sem_seg']['data'][0].to(prediction.device)
                num_classes = len(self.dataset_meta['classes'])
                counts = [count_pairs(label, prediction, num_classes, self.ignore_index)]
                if self.boundary_ratio is not None:
                    maps = label.cpu().numpy(), prediction.cpu().numpy()
                    found = count(*maps, num_classes, self.ignore_index, self.boundary_ratio)
                    counts.append(torch.from_numpy(found))
                self.results.append((sample['img_path'], *counts))
            if self.output_dir is not None:
                self._write(prediction.cpu().numpy(), sample)

    def predict(self, sample: dict) -> Tensor:
        """The classes to count, int64 ``[H, W]``."""
        return sample['pred_sem_seg']['data'][0].long()

    def items(self, result: Result) -> list[tuple]:
        """The items of ``results`` from which a result was made."""
        columns = [[torch.from_numpy(result.counts(i)) for i in range(len(result.images))]]
        if result.boundary is not None:
            columns.append([torch.from_numpy(each) for each in result.boundaries()])
        return list(zip(result.images, *columns))

    def _write(self, ids: np.ndarray, sample: dict) -> None:
        """Write a label map as 8-bit PNG, or 16-bit for more ids."""
        if self.out_ids == 'labels':
            known = ids_in_files(self.dataset_meta, bool(sample.get('reduce_zero_label')))
        else:
            known = np.arange(len(self.dataset_meta['classes']))
        known = known.astype(np.min_scalar_type(known.max()))
        image = sample['img_path']
        path = Path(self.output_dir, f'{self.output_names.get(image, Path(image).stem)}.png')
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(known[ids]).save(path)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the metrics of ``IoUMetric``, and log its table.

        Returns:
            The metrics of ``IoUMetric``, without those that are NaN.
        """
        if self.format_only:
            return super().compute_metrics(results)
        result = self.make_result(results)
        areas = torch.from_numpy(result.areas()).float()
        metrics = super().compute_metrics([tuple(each) for each in areas])
        if result.boundary is not None:
            metrics['mBIoU'] = round(result.mBIoU, 2)
            print_log(f'Boundary IoU, mean of the classes: {result.mBIoU:.2f}', 'current')
        return {key: float(value) for key, value in metrics.items() if value == value}

    def make_result(self, results: list) -> Result:
        """Collect the counts of all images into a result, and save it to ``out_file``."""
        images, counts, *boundaries = zip(*results) if results else ((), ())
        columns = [[each.numpy() for each in column] for column in (counts, *boundaries)]
        self.result = Result.from_counts(
            images, columns[0], self.dataset_meta['classes'], *columns[1:]
        )
        if self.out_file:
            self.result.save(self.out_file)
        return self.result


def count_pairs(label: Tensor, prediction: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """Count the pixels of each pair of label and prediction that occurs.

    Args:
        label: Integers of any shape.
        prediction: Integers of the same shape, 0 to K - 1.
        num_classes: Number of classes, K.
        ignore_index: Label of ignored pixels.

    Returns:
        Label, prediction and pixels, int64 ``[3, m]`` on the CPU, sorted by label, then prediction.

    Raises:
        InputError: If an id is outside the classes.
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
