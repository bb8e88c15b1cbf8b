"""A test loop that evaluates many settings of the decision at once."""

import contextlib
import logging
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.runner import TestLoop
from mmseg.evaluation import IoUMetric
from mmseg.registry import LOOPS
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader

from ..engine.loader_workers import end_workers, with_num_workers
from ..engine.reporting_iou_metric import class_values
from ..engine.settings import Settings, evaluation_settings
from ..models.decision import DecisionRule
from ..models.fusion import WindowMaps
from ..utils.errors import InputError
from .grid import Setting
from .store import SettingAreas, Store

FOLDER = 'kept'


@dataclass
class SettingResult:
    """What a setting gives.

    Attributes:
        setting: The setting.
        metrics: What an evaluation prints: name → percent, to two digits.
        classes: Class name → metric → percent, unrounded; None where a class has no pixel.
        mean: mIoU in percent, unrounded.
    """

    setting: Setting
    metrics: Dict[str, float]
    classes: Dict[str, Dict[str, Optional[float]]]
    mean: float


@LOOPS.register_module()
class ThresholdSweepLoop(TestLoop):
    """Encodes each image once, and decides it by each setting.

    Maps of the windows, from which all that follows is computed, and the areas of each setting are
    kept in ``WORK_DIR/kept``, so that a stopped run goes on and other settings need no tower.

    Args:
        runner, dataloader: See :class:`..engine.ResumableTestLoop`.
        evaluator: One ``IoUMetric`` with ``'mIoU'`` among its ``iou_metrics``.
        settings: Values of each :class:`.grid.Setting`.
        keep_maps: Whether to keep maps.

    Raises:
        InputError: If the evaluator or the batch sampler is another.
    """

    def __init__(
        self,
        runner,
        dataloader: Union[DataLoader, dict],
        evaluator: Union[Evaluator, dict, list],
        settings: Sequence[Sequence[Optional[float]]],
        keep_maps: bool = True,
    ):
        if isinstance(dataloader, dict):
            dataloader = with_num_workers(dataloader, runner.launcher)
        super().__init__(runner, dataloader, evaluator)
        self.settings = [Setting(*values) for values in settings]
        self.keep_maps = keep_maps
        self.metric = self._find_metric()
        self._pending: List[int] = []
        self._announced = False

    def _find_metric(self) -> IoUMetric:
        metrics = self.evaluator.metrics
        fits = (
            len(metrics) == 1
            and isinstance(metrics[0], IoUMetric)
            and 'mIoU' in metrics[0].metrics
            and not metrics[0].format_only
        )
        sampler = self.dataloader.batch_sampler
        if not fits or type(sampler) is not BatchSampler or sampler.drop_last:
            raise InputError(
                "a sweep needs test_evaluator to be one IoUMetric with iou_metrics=['mIoU'], and "
                'no test_dataloader.batch_sampler or drop_last'
            )
        return metrics[0]

    def run(self) -> List[SettingResult]:
        """Evaluate what is not done yet, and compute the metrics of all settings.

        Returns:
            In the order of ``settings``.

        Raises:
            InputError: If what is kept is of another evaluation, or has no room.
        """
        try:
            return self._run()
        finally:
            end_workers(self.dataloader)

    def _run(self) -> List[SettingResult]:
        folder = Path(self.runner.work_dir) / FOLDER
        dataset = self.dataloader.dataset
        self.store = Store(folder, sweep_settings(self.runner.cfg, dataset))
        for change in self.store.open():
            self.runner.logger.warning(f'{folder}: {change}; last digits may differ')
        self._find_pending()
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        self.runner.model.eval()
        for idx, data_batch in enumerate(self.dataloader):
            self.run_iter(idx, data_batch)
        results = self._compute()
        self.runner.call_hook('after_test')
        return results

    def _find_pending(self) -> None:
        """Leave to the data loader what lacks a setting, in whole batches."""
        sampler = self.dataloader.batch_sampler
        self._order = order = list(sampler.sampler)
        self._done = {i for i in order if self.store.load_areas(i).keys() >= set(self.settings)}
        size = self.dataloader.batch_size
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        self._pending = [i for batch in batches if not self._done >= set(batch) for i in batch]
        sampler.sampler = self._pending
        kept = sum(self.store.maps_path(index).is_file() for index in self._pending)
        if kept or self._done:
            self.runner.logger.info(
                f'{len(order) - len(self._pending)} of {len(order)} images are done already; maps '
                f'of {kept} of the others are kept, so that no tower sees them'
            )

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Evaluate all settings on a batch."""
        hook = dict(batch_idx=idx, data_batch=data_batch)
        self.runner.call_hook('before_test_iter', **hook)
        size = self.dataloader.batch_size
        indices = self._pending[idx * size : (idx + 1) * size]
        data = self.runner.model.data_preprocessor(data_batch, False)
        images, samples = data['inputs'], data['data_samples']
        maps = self._find_maps(indices, images, samples)
        for index, image, sample in zip(indices, images, samples):
            each = maps.pop(0)
            if index not in self._done:
                self._evaluate(index, each, image, sample)
        self.runner.call_hook('after_test_iter', **hook, outputs=samples)

    def _find_maps(
        self, indices: Sequence[int], images: Tensor, samples: List[SegDataSample]
    ) -> List[WindowMaps]:
        """Read the maps of a batch, or make and keep them."""
        model = self.runner.model
        maps = [self.store.load_maps(index, model.class_ids.device) for index in indices]
        if all(each is not None for each in maps):
            return maps
        # The whole batch, so that numbers do not depend on where a run was interrupted.
        maps = model.encode_images(images, samples)
        if self.keep_maps:
            self._announce(maps[0])
            for index, each in zip(indices, maps):
                self.store.save_maps(index, each)
        return maps

    def _announce(self, maps: WindowMaps) -> None:
        """Say once how much is going to be kept, and refuse what has no room."""
        if not self._announced:
            missing = [i for i in self._pending if not self.store.maps_path(i).is_file()]
            size = maps.cells.numel() * maps.cells.element_size()
            words = self.store.check_space(size, len(missing))
            self.runner.logger.info(f'{self.store.folder} keeps {words}')
        self._announced = True

    def _evaluate(self, index: int, maps: WindowMaps, image: Tensor, sample: SegDataSample) -> None:
        """Compute and keep the areas of an image by each setting that it lacks."""
        model, metric = self.runner.model, self.metric
        areas: SettingAreas = self.store.load_areas(index)
        test_cfg = self.runner.cfg.model.test_cfg
        todo: Dict[DecisionRule, List[Setting]] = defaultdict(list)
        for setting in self.settings:
            if setting not in areas:
                todo[setting.rule(test_cfg)].append(setting)
        label = sample.gt_sem_seg.data[0].to(maps.cells.device)
        num_classes = len(metric.dataset_meta['classes'])
        for rule, classes in model.decide_variants(maps, image, sample, list(todo)):
            found = metric.intersect_and_union(classes, label, num_classes, metric.ignore_index)
            found = torch.stack(found).numpy().astype(np.int32)
            areas.update(dict.fromkeys(todo[rule], found))
        self.store.save_areas(index, areas)

    def _compute(self) -> List[SettingResult]:
        """Sum areas over images, in float32 and in the metric's order; compute metrics."""
        totals: Dict[Setting, Union[int, Tensor]] = dict.fromkeys(self.settings, 0)
        for index in self._order:
            areas = self.store.load_areas(index)
            for setting in self.settings:
                totals[setting] = totals[setting] + torch.from_numpy(areas[setting]).float()
        with _only_in_the_file(self.runner.logger):
            return [self._result(setting, total) for setting, total in totals.items()]

    def _result(self, setting: Setting, total: Tensor) -> SettingResult:
        self.runner.logger.info(f'{setting.options()}:')
        metrics = IoUMetric.compute_metrics(self.metric, [tuple(total)])
        classes = class_values(self.metric, [tuple(total)])
        ious = [values['IoU'] for values in classes.values() if values['IoU'] is not None]
        return SettingResult(
            setting,
            {key: round(float(value), 2) for key, value in metrics.items()},
            classes,
            float(np.mean(ious)) if ious else float('nan'),
        )


def sweep_settings(cfg: Config, dataset: BaseDataset) -> Settings:
    """What maps and areas depend on, besides the settings that are swept."""
    without = {f'model.test_cfg.{name}' for name in Setting._fields}
    return {
        key: value
        for key, value in evaluation_settings(cfg, dataset).items()
        if key not in without and key != 'show_dir' and not key.startswith('test_cfg.')
    }


@contextlib.contextmanager
def _only_in_the_file(logger: MMLogger) -> Iterator[None]:
    """Keep messages off the terminal."""
    handlers = [h for h in logger.handlers if type(h) is logging.StreamHandler]
    levels = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for handler, level in zip(handlers, levels):
            handler.setLevel(level)
