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
        totals = [sum(areas) for areas in zip(*results)]
        values = self.total_area_to_metrics(*totals, self.metrics, self.nan_to_num, self.beta)
        columns = {key: (100 * values[key]).tolist() for key in ('IoU', 'Acc') if key in values}
        times = MessageHub.get_current_instance().log_scalars.get('test/time')
        report = dict(
            metrics={key: round(float(value), 2) for key, value in metrics.items()},
            classes={
                name: {key: _number(column[index]) for key, column in columns.items()}
                for index, name in enumerate(self.dataset_meta['classes'])
            },
            seconds_per_iteration=None if times is None else float(times.mean()),
            peak_memory=_peak_memory(),
        )
        mmengine.dump(report, self.report_file, indent=1)
        return metrics


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
