"""The IoU of each class, time and memory in a file."""

import sys
from typing import Dict, Optional

import mmengine
import torch
from mmengine.logging import MessageHub
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS


@METRICS.register_module()
class ReportingIoUMetric(IoUMetric):
    """mmseg's metric, which also writes what it computes to a JSON file.

    The file holds ``metrics`` (what the evaluation prints), ``classes`` (class name → IoU and Acc
    in percent, unrounded, None where a class has no pixel), ``seconds_per_iteration`` (None where
    nothing was left to evaluate) and ``peak_memory`` of the first process in bytes: of the GPU
    where there is one, else of the process (None on Windows).

    Args:
        report_file: The file to write.
        **kwargs: See :class:`mmseg.evaluation.IoUMetric`.
    """

    def __init__(self, report_file: str, **kwargs):
        super().__init__(**kwargs)
        self.report_file = report_file

    def compute_metrics(self, results: list) -> Dict[str, float]:
        """See :class:`mmseg.evaluation.IoUMetric`."""
        metrics = super().compute_metrics(results)
        if self.format_only:
            return metrics
        times = MessageHub.get_current_instance().log_scalars.get('test/time')
        report = dict(
            metrics={key: round(float(value), 2) for key, value in metrics.items()},
            classes=class_values(self, results),
            seconds_per_iteration=None if times is None else float(times.mean()),
            peak_memory=_peak_memory(),
        )
        mmengine.dump(report, self.report_file, indent=1)
        return metrics


def class_values(metric: IoUMetric, results: list) -> Dict[str, Dict[str, Optional[float]]]:
    """IoU and Acc of each class in percent, unrounded.

    Args:
        metric: What computes them.
        results: See :class:`mmseg.evaluation.IoUMetric`.

    Returns:
        Class name → ``IoU`` and ``Acc``, None where the class has no pixel.
    """
    totals = [sum(areas) for areas in zip(*results)]
    values = metric.total_area_to_metrics(*totals, metric.metrics, metric.nan_to_num, metric.beta)
    columns = {key: (100 * values[key]).tolist() for key in ('IoU', 'Acc') if key in values}
    return {
        name: {key: _number(column[index]) for key, column in columns.items()}
        for index, name in enumerate(metric.dataset_meta['classes'])
    }


def _number(value: float):
    return None if value != value else value


def _peak_memory() -> Optional[int]:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if sys.platform == 'win32':
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else 1024 * peak  # elsewhere in KiB
