"""A test loop that can be killed and resumed, and that saves its result."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.dist import barrier, get_world_size, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.logging import MessageHub
from mmengine.runner import Runner, TestLoop
from mmseg.registry import LOOPS
from torch.utils.data import BatchSampler, DataLoader

from ..engine.joining import was_restarted
from ..engine.loader_workers import end_workers, with_num_workers
from ..utils.compat import let_workers_import_this_package
from ..utils.errors import InputError, one_line
from ..utils.files import explain_full_disk
from .confusion_metric import ConfusionMetric
from .fingerprint import list_changes, make_fingerprint
from .machine import describe_machine, describe_model, peak_memory
from .result import Result
from .store import FOLDER, NotStorable, Records, Store

RESULT_FILE = 'result.npz'


@LOOPS.register_module()
class ResumableTestLoop(TestLoop):
    """Saves the metrics' results per image in the work directory, and can resume from there.

    Each process appends to ``WORK_DIR/partial_results`` from time to time. With ``resume``, or
    if torchrun or Slurm restarted the run, images found there, from any process, are not evaluated
    again; the metrics receive all images in the order of an uninterrupted run, so that even sums of
    floats are the same. Otherwise the folder is renamed. A finished run removes the folder, and
    saves the :class:`Result` as ``WORK_DIR/result.npz`` if a :class:`ConfusionMetric` is among the
    metrics.

    Args:
        runner, dataloader, evaluator: See :class:`mmengine.runner.TestLoop`. A data loader without
            ``num_workers`` gets its share of the machine's cores.
        fp16: Must be False; set the precision of the image encoder instead.
        resume: Whether to resume from the work directory.
        save_interval: Seconds between two writes; a killed run loses at most this and one batch.

    Attributes:
        result: Result after a run, in the first process; None without a :class:`ConfusionMetric`.

    Raises:
        InputError: If ``fp16`` is set. When run with ``resume``, if the fingerprint has changed, or
            if the data loader has a batch sampler or ``drop_last``.
    """

    #: Advice in the error message if a run cannot be resumed.
    restart = 'start over without --resume or in another --work-dir'

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        fp16: bool = False,
        resume: bool = False,
        save_interval: float = 30.0,
    ):
        if fp16:
            raise InputError(
                'test_cfg.fp16=True would run decisions in float16 too: set '
                "model.image_encoder.precision='fp16' instead"
            )
        if isinstance(dataloader, dict):
            dataloader = with_num_workers(dataloader, runner.launcher)
        super().__init__(runner, dataloader, evaluator)
        let_workers_import_this_package(self.dataloader.dataset)
        self.resume = resume
        self.save_interval = save_interval
        self.result: Result | None = None
        self.path = Path(runner.work_dir) / RESULT_FILE
        self._sampler = getattr(self.dataloader.batch_sampler, 'sampler', ())
        self._share: list[int] = []  # images of this process, in the metrics' order
        self._pending: list[int] = []  # those to evaluate, in the data loader's order
        self._records: Records = {}
        self._unsaved: Records = {}

    def run(self) -> dict:
        """Evaluate the remaining images, and compute the metrics of all images."""
        try:
            return self._run()
        finally:
            end_workers(self.dataloader)

    def _run(self) -> dict:
        sampler = self.dataloader.batch_sampler
        self._resumable = type(sampler) is BatchSampler and not sampler.drop_last
        if not self._resumable and self.resume:
            raise InputError(
                '--resume needs a test_dataloader without batch_sampler or drop_last: leave it out '
                'or change them'
            )
        self.store = self.open_store()
        if self._resumable:
            self._restore()
        try:
            metrics = self.run_images()
        except BaseException as error:
            self._explain(error)
            raise
        if is_main_process():  # all processes have saved before the metrics were computed
            self.finish()
        return metrics

    def run_images(self) -> Any:
        """Evaluate the remaining images; returns the metrics, which :meth:`run` returns."""
        if self._resumable and not self._pending:
            self._fill_metrics()
        return super().run()

    def open_store(self) -> Store:
        """Open the store of this run's records."""
        fingerprint = make_fingerprint(self.runner.cfg, self.dataloader.dataset)
        return Store(Path(self.runner.work_dir) / FOLDER, fingerprint, self.restart)

    def is_done(self, record: Any) -> bool:
        """Whether the record of an image is complete."""
        return len(record) == len(self.evaluator.metrics)

    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Run a batch, and record the metrics' results."""
        metrics = self.evaluator.metrics
        before = [len(metric.results) for metric in metrics]
        super().run_iter(idx, data_batch)
        if not self._resumable:
            return
        indices = self.indices_of(idx)
        columns = [metric.results[start:] for metric, start in zip(metrics, before)]
        for metric, column in zip(metrics, columns):
            if column and len(column) != len(indices):
                self._disable_resuming(f'{type(metric).__name__} has no result per image')
                return
        records = {
            index: [column[place : place + 1] for column in columns]
            for place, index in enumerate(indices)
        }
        self.keep(records, is_last := idx + 1 == len(self.dataloader))
        if is_last:
            self._fill_metrics()

    def indices_of(self, idx: int) -> list[int]:
        """Indices in the dataset of the images of a batch."""
        size = self.dataloader.batch_size
        return self._pending[idx * size : (idx + 1) * size]

    def keep(self, records: Records, is_last: bool) -> None:
        """Add records of images, and write them if the interval has passed."""
        self._records.update(records)
        self._unsaved.update(records)
        if is_last or time.monotonic() - self._saved_at >= self.save_interval:
            self._save()

    def finish(self) -> None:
        """Save the result, and remove the partial results."""
        # In reverse, so that of two metrics with the same file the first one's is kept.
        for metric in reversed(self.evaluator.metrics):
            if isinstance(metric, ConfusionMetric) and metric.result is not None:
                result = self._complete(metric.result)
                result.save(self.path_of(metric))
                if not metric.oracle:
                    self.result = result
        self.store.remove()

    def path_of(self, metric: ConfusionMetric) -> Path:
        """Path of the result of a metric."""
        return self.path.with_name(f'oracle_{metric.oracle}.npz') if metric.oracle else self.path

    def _fill_metrics(self) -> None:
        """Give the metrics the records of this process's images."""
        for place, metric in enumerate(self.evaluator.metrics):
            items = (self._records[index][place] for index in self._share)
            metric.results = [item for each in items for item in each]

    def _complete(self, result: Result) -> Result:
        """Add relative image names, fingerprint and metadata to a result."""
        times = MessageHub.get_current_instance().log_scalars.get('test/time')
        world = get_world_size()
        images = (self.dataloader.batch_size or 1) * world
        meta = dict(
            describe_machine(),
            **describe_model(self.runner.cfg.model),
            config=str(self.runner.cfg.filename),
            processes=world,
            seconds_per_image=None if times is None else float(times.mean()) / images,
            peak_memory=peak_memory(),
        )
        names = image_names(self.dataloader.dataset, result.images)
        return replace(result, images=names, fingerprint=self.store.fingerprint, meta=meta)

    def _move_other_result(self) -> None:
        """Rename the result of another evaluation, so that this run does not overwrite it."""
        try:
            other = Result.load(self.path).fingerprint
        except InputError:  # missing or damaged
            return
        if not any(list_changes(other, self.store.fingerprint)):
            return
        aside = self.path.with_name(f'{self.path.stem}_{self.runner.timestamp}.npz')
        os.replace(self.path, aside)
        self.runner.logger.info(f'The result of another evaluation is now {aside}')

    def _explain(self, error: BaseException) -> None:
        """Save the records, and say how much is done in the error message of an interrupted run."""
        if not self._resumable:
            return
        full = ''
        try:
            self._save()
        except InputError as second:  # what was saved before is intact
            full = str(second)
        of = ' of this process' if get_world_size() > 1 else ''
        saved = len((self._records.keys() - self._unsaved.keys()) & set(self._share))
        done = f'{saved} of {len(self._share)} images{of} are done'
        again = 'run the same command to resume' if self.resume else 'continue with --resume'
        done += f': {again}' if saved else ''
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(done) from error
        folders = [self.runner.work_dir, self.runner.cfg.visualizer.get('save_dir')]
        folders += [getattr(metric, 'output_dir', None) for metric in self.evaluator.metrics]
        existing = [folder for folder in folders if folder and os.path.isdir(folder)]
        if isinstance(error, OSError) and (place := explain_full_disk(error, existing)):
            full = f'{place}; free disk space there'
        if str(error).startswith('DataLoader worker'):  # PyTorch's message
            full = (
                f'a data loader worker was killed by the system ({error}): free memory, set '
                'test_dataloader.num_workers=0, or give a container more by --memory and --shm-size'
            )
        if isinstance(error, InputError) and saved and not full:  # a damaged file
            full = one_line(error)
            done += ' once the file is restored (a file of another size restarts the run)'
        if full:
            raise InputError(f'{full}. {done}') from error

    def _restore(self) -> None:
        """Read the finished images, and let the data loader load only the others."""
        resume = self.resume or was_restarted()
        self._records, self._unsaved = self.read() if resume else {}, {}
        if not resume and is_main_process():
            self._move_other_result()
            if aside := self.store.set_aside(self.runner.timestamp):
                self.runner.logger.warning(
                    'Started from the beginning; the partial results of an interrupted run are now '
                    f'in {aside} (--resume would have used them)'
                )
        barrier()  # no process writes before all have read
        for metric in self.evaluator.metrics:
            if metric.collect_device == 'cpu' and metric.collect_dir is None:
                # mmengine's default is below the current folder.
                metric.collect_dir = str(self.store.folder / 'collected')
        self._share = list(self._sampler)
        size = self.dataloader.batch_size
        # Whole batches, so that numbers do not depend on where a run was interrupted.
        batches = [self._share[i : i + size] for i in range(0, len(self._share), size)]
        done = {index for index, record in self._records.items() if self.is_done(record)}
        self._pending = [index for batch in batches if not done >= set(batch) for index in batch]
        self.dataloader.batch_sampler.sampler = self._pending
        self._saved_at = time.monotonic()
        if resume:
            count = len(self._share) - len(self._pending)
            self.runner.logger.info(f'Resumed: {count} of {len(self._share)} images are done')

    def read(self) -> Records:
        """Read the records of images, from partial results or from a result.

        Raises:
            InputError: If they belong to another evaluation.
        """
        records, warnings = self.store.read()
        if not records and self.path.is_file():
            records, warnings = self._read_result()
        for warning in warnings:
            self.runner.logger.warning(warning)
        return records

    def _read_result(self) -> tuple[Records, list[str]]:
        """Read the records of a finished run from its result, if it has those of all metrics."""
        metrics = self.evaluator.metrics
        counting = [
            metric
            for metric in metrics
            if getattr(type(metric), 'process', None) is ConfusionMetric.process
        ]
        try:
            results = [Result.load(self.path_of(metric)) for metric in counting]
        except InputError as error:
            return {}, [f'{error}: all images are evaluated again']
        warnings = [text for result in results[:1] for text in self.store.check(result.fingerprint)]
        if len({self.path_of(metric) for metric in counting}) < len(metrics):
            return {}, warnings  # some have no result, or share a file
        columns = [metric.items(result) for metric, result in zip(counting, results)]
        return {i: [[item] for item in row] for i, row in enumerate(zip(*columns))}, warnings

    def _save(self) -> None:
        if self._unsaved:
            try:
                self.store.append(self._unsaved)
            except NotStorable as error:
                self._disable_resuming(str(error))
                return
            self._unsaved = {}
        self._saved_at = time.monotonic()

    def _disable_resuming(self, reason: str) -> None:
        if len(self._pending) < len(self._share):
            raise InputError(f'cannot resume: {reason}; {self.restart}')
        self._resumable = False
        self.runner.logger.warning(f'This run cannot be resumed if it is interrupted: {reason}')


def image_names(dataset: BaseDataset, paths: Sequence[str]) -> list[str]:
    """Paths of images relative to the dataset's folder of images; others are unchanged."""
    prefix = getattr(dataset, 'data_prefix', None) or {}
    folder = prefix.get('img_path')
    if not folder:
        return list(paths)
    below = [os.path.relpath(path, folder) for path in paths]
    return [
        path if name.startswith(os.pardir) else Path(name).as_posix()
        for name, path in zip(below, paths)
    ]
