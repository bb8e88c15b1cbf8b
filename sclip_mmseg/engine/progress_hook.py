"""Log messages about the progress of a test run, and the folders of its results."""

import os.path as osp
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import LoggerHook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..utils.progress import INTERVAL, Progress


@HOOKS.register_module()
class ProgressLoggerHook(LoggerHook):
    """mmengine's hook, which logs a test run at time intervals and with images per second.

    At the end, before the metrics in the last line, it logs the folders that were written to.

    Args:
        seconds: Largest interval between messages, unless a batch takes longer.
        **kwargs: See :class:`mmengine.hooks.LoggerHook`.
    """

    def __init__(self, seconds: float = INTERVAL, **kwargs: Any):
        super().__init__(**kwargs)
        self.seconds = seconds

    def before_test(self, runner: Runner) -> None:
        """Log the dataset."""
        loader = runner.test_dataloader
        root = getattr(loader.dataset, 'data_root', None)
        where = f' in {osp.normpath(root)}' if root else ''
        runner.logger.info(
            f'Dataset: {type(loader.dataset).__name__}, {len(loader.dataset)} images{where}; '
            f'batch size {loader.batch_size}, {loader.num_workers} loading'
        )

    def before_test_epoch(self, runner: Runner) -> None:
        """Start the timer."""
        self._progress = Progress(len(runner.test_dataloader), interval=self.seconds)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Log the progress if the interval has passed."""
        if not self._progress.is_due(batch_idx + 1):
            return
        _, text = runner.log_processor.get_log_after_iter(runner, batch_idx, 'test')
        if self._progress.rate:
            images = (runner.test_dataloader.batch_size or 1) * get_world_size()
            text = f'{text.rstrip()}  images/s: {images * self._progress.rate:.3g}'
        runner.logger.info(text)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Log the output folders and the metrics."""
        runner.logger.info(f'Log and metrics: {runner.log_dir}')
        for metric in runner.test_loop.evaluator.metrics:
            if getattr(metric, 'output_dir', None):
                runner.logger.info(f'Label maps: {metric.output_dir}')
        drawing = runner.cfg.get('default_hooks', {}).get('visualization') or {}
        if drawing.get('draw') and not drawing.get('show'):
            folder = runner.cfg.visualizer.get('save_dir') or runner.log_dir
            runner.logger.info(f'Overlays: {folder}')
        super().after_test_epoch(runner, metrics)
