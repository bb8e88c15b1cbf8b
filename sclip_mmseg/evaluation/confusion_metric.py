"""mmseg's IoU metric, which keeps the confusion matrix of each image."""

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
_MOST_BINS = 1 << 22  # of bincount; more classes are sorted instead


@METRICS.register_module()
class ConfusionMetric(IoUMetric):
    """mmseg's ``IoUMetric``, with the same table, which counts label by prediction.

    Counts are integers per image, made on the device of the prediction.

    Args:
        out_file: Where to save the :class:`Result`. ``ResumableTestLoop`` saves one as
            ``result.npz`` in the work directory without it.
        out_ids: What the label maps in ``output_dir`` hold: ``'labels'``, the ids of label files
            (a class index plus 1 where the dataset has ``reduce_zero_label``), or ``'classes'``.
        boundary_ratio: Width of boundaries as a share of the image's diagonal, such as 0.02, to
            count them for the Boundary IoU as well; None not to. See :func:`.boundary.count`.
        **kwargs: See :class:`mmseg.evaluation.IoUMetric`.

    Attributes:
        result: The result of the last evaluation, on the first process.
        output_names: Path of an image → what its label map is called; of others, the label map has
            the image's file name.

    Raises:
        InputError: If ``out_ids`` is another word, or ``boundary_ratio`` is not between 0 and 1.
    """

    #: Of metrics of what would be reached if something were known: its name in that of its file.
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
        """The classes that are counted, int64 ``[H, W]``."""
        return sample['pred_sem_seg']['data'][0].long()

    def items(self, result: Result) -> list[tuple]:
        """The items of ``results`` that a result was made of."""
        columns = [[torch.from_numpy(result.counts(i)) for i in range(len(result.images))]]
        if result.boundary is not None:
            columns.append([torch.from_numpy(each) for each in result.boundaries()])
        return list(zip(result.images, *columns))

    def _write(self, ids: np.ndarray, sample: dict) -> None:
        """Write a label map: PNG of 8 bits, or of 16 where there are more ids."""
        if self.out_ids == 'labels':
            known = ids_in_files(self.dataset_meta, bool(sample.get('reduce_zero_label')))
        else:
            known = np.arange(len(self.dataset_meta['classes']))
        known = known.astype(np.uint8 if known.max() < 256 else np.uint16)
        image = sample['img_path']
        path = Path(self.output_dir, f'{self.output_names.get(image, Path(image).stem)}.png')
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(known[ids]).save(path)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute what ``IoUMetric`` computes, and log its table.

        Returns:
            As of ``IoUMetric``, without means of which no class has a value.
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
        """Put what is known of all images together; it is saved where ``out_file`` says."""
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
