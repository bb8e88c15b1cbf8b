"""A test loop that can be killed and gone on with."""

import os
import shutil
import time
from pathlib import Path
from typing import List, Sequence, Union

import numpy as np
import torch
from mmengine.dist import barrier, get_rank, get_world_size, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.runner import TestLoop
from mmseg.evaluation import IoUMetric
from mmseg.registry import LOOPS
from torch.utils.data import BatchSampler, DataLoader

from ..datasets.split import with_clean_split
from ..utils.compat import let_workers_import_this_package
from ..utils.errors import InputError, join_first
from ..utils.files import explain_full_disk
from .joining import was_restarted
from .loader_workers import end_workers, with_num_workers
from .partial_results import Areas, read_areas, write_areas
from .settings import evaluation_settings, list_changes

FOLDER = 'partial_results'


@LOOPS.register_module()
class ResumableTestLoop(TestLoop):
    """Keeps the results of the images done in the work directory, and goes on from there.

    Each process writes its images' areas to ``WORK_DIR/partial_results`` from time to time. With
    ``resume``, or restarted by torchrun or Slurm, images found there, by whichever process, are not
    read again; the metric gets all results in the order in which an uninterrupted run has them, so
    that even sums of floats are the same. Else what is found there is set aside. When the run is
    finished, the folder goes.

    Args:
        runner, dataloader, evaluator: See :class:`mmengine.runner.TestLoop`. A data loader without
            ``num_workers`` gets its share of the machine's cores.
        fp16: False; precision is the image encoder's, decisions are made in float32.
        resume: Whether to go on from the work directory's partial results.
        save_interval: Seconds between two writes, at most what a kill costs (and one batch).

    Raises:
        InputError: If ``fp16`` is set. When run with ``resume``, if what the numbers depend on has
            changed, or if there are no results per image to be kept: an evaluator other than one
            ``IoUMetric``, or a batch sampler of another kind.
    """

    def __init__(
        self,
        runner,
        dataloader: Union[DataLoader, dict],
        evaluator: Union[Evaluator, dict, list],
        fp16: bool = False,
        resume: bool = False,
        save_interval: float = 30.0,
    ):
        if fp16:
            raise InputError(
                'test_cfg.fp16=True would halve the precision of decisions too: set '
                "model.image_encoder.precision='fp16' instead"
            )
        if isinstance(dataloader, dict):
            dataloader = with_clean_split(with_num_workers(dataloader, runner.launcher))
        super().__init__(runner, dataloader, evaluator)
        let_workers_import_this_package(self.dataloader.dataset)
        self.resume = resume
        self.save_interval = save_interval
        self.folder = Path(runner.work_dir) / FOLDER
        self._sampler = getattr(self.dataloader.batch_sampler, 'sampler', None)
        self._share: List[int] = []  # images of this process, in the metric's order
        self._pending: List[int] = []  # those to be done, in the data loader's order
        self._areas: Areas = {}

    def run(self) -> dict:
        """Evaluate what is not done yet, and compute the metrics of all."""
        try:
            return self._run()
        finally:
            end_workers(self.dataloader)

    def _run(self) -> dict:
        self._resumable = self._is_resumable()
        if not self._resumable:
            if self.resume:
                raise InputError(
                    '--resume needs test_evaluator to be one IoUMetric without format_only, and '
                    'no test_dataloader.batch_sampler or drop_last: leave it out or change them'
                )
            return super().run()
        self._settings = evaluation_settings(self.runner.cfg, self.dataloader.dataset)
        self._restore()
        try:
            metrics = super().run()
        except BaseException as error:
            self._explain(error)
            raise
        if is_main_process():  # all have saved before the metrics were computed
            shutil.rmtree(self.folder, ignore_errors=True)
        return metrics

    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Run a batch, and keep its results."""
        super().run_iter(idx, data_batch)
        if not self._resumable:
            return
        [metric] = self.evaluator.metrics
        size = self.dataloader.batch_size
        for index, areas in zip(self._pending[idx * size : (idx + 1) * size], metric.results):
            self._areas[index] = np.stack([area.numpy() for area in areas]).astype(np.int32)
        metric.results.clear()
        if idx + 1 == len(self.dataloader):
            self._save()
            self._hand_over()
        elif time.monotonic() - self._saved_at >= self.save_interval:
            self._save()

    def _explain(self, error: BaseException) -> None:
        """Keep what is done; of an interruption or a full disk, say how much that is.

        Raises:
            InputError: If the disk is full.
            KeyboardInterrupt: If the run was interrupted.
        """
        try:
            self._save()
        except OSError as second:  # what was saved before is whole
            error = error if isinstance(error, KeyboardInterrupt) else second
        of = ' of this process' if get_world_size() > 1 else ''
        done = f'{self._saved} of {len(self._share)} images{of} are done'
        done += ': go on with --resume' if self._saved else ''
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(done) from error
        folders = [self.runner.work_dir, self.runner.cfg.visualizer.get('save_dir')]
        folders += [getattr(metric, 'output_dir', None) for metric in self.evaluator.metrics]
        existing = [folder for folder in folders if folder and os.path.isdir(folder)]
        if isinstance(error, OSError) and (place := explain_full_disk(error, existing)):
            raise InputError(f'{place}; make room there. {done}') from error

    def _is_resumable(self) -> bool:
        metrics = self.evaluator.metrics
        return (
            len(metrics) == 1
            and isinstance(metrics[0], IoUMetric)
            and not metrics[0].format_only
            and type(self.dataloader.batch_sampler) is BatchSampler
            and not self.dataloader.drop_last
        )

    def _restore(self) -> None:
        """Find out what is done, and leave the rest to the data loader."""
        resume = self.resume or was_restarted()
        self._areas = self._read() if resume else {}
        if not resume and is_main_process() and self.folder.is_dir():
            aside = self.folder.with_name(f'{FOLDER}_{self.runner.timestamp}')
            os.replace(self.folder, aside)
            self.runner.logger.warning(
                f'Started afresh; the partial results of an interrupted run are now in {aside} '
                '(--resume would have gone on from them)'
            )
        barrier()  # nobody writes before all have read
        [metric] = self.evaluator.metrics
        if metric.collect_dir is None:  # else mmengine's choice, below the current folder
            metric.collect_dir = str(self.folder / 'collected')
        self._share = list(self._sampler)
        self._saved = len(self._areas.keys() & set(self._share))
        size = self.dataloader.batch_size
        # Whole batches, so that numbers do not depend on where a run was interrupted.
        batches = [self._share[i : i + size] for i in range(0, len(self._share), size)]
        self._pending = [i for b in batches if not self._areas.keys() >= set(b) for i in b]
        self.dataloader.batch_sampler.sampler = self._pending
        self._saved_at = time.monotonic()
        if resume:
            done = len(self._share) - len(self._pending)
            self.runner.logger.info(f'Resumed: {done} of {len(self._share)} images are done')
        if not self._pending:
            self._hand_over()

    def _read(self) -> Areas:
        """Read all processes' partial results.

        Raises:
            InputError: If they cannot be read or belong to another evaluation.
        """
        found: Areas = {}
        for path in sorted(self.folder.glob('*.npz')):
            settings, areas = read_areas(path)
            severe, slight = list_changes(settings, self._settings)
            if severe:
                raise InputError(
                    f'cannot resume from {self.folder}, {join_first(severe)}: repeat the '
                    'interrupted command with --resume, or start afresh without --resume or in '
                    'another --work-dir'
                )
            for change in slight:
                self.runner.logger.warning(f'{path}: {change}; last digits may differ')
            found.update(areas)
        return found

    def _save(self) -> None:
        if self._areas:
            path = self.folder / f'process_{get_rank()}.npz'
            write_areas(path, self._settings, self._areas)
            self._saved = len(self._areas.keys() & set(self._share))
        self._saved_at = time.monotonic()

    def _hand_over(self) -> None:
        """Give the metric the results of this process's share."""
        [metric] = self.evaluator.metrics
        metric.results = [
            tuple(torch.from_numpy(self._areas[index]).float()) for index in self._share
        ]
