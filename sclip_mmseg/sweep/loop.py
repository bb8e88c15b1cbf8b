"""A test loop that evaluates many settings of the decision rule at once."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from mmseg.registry import LOOPS
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.utils.data import DataLoader

from ..evaluation import ConfusionMetric, Result, ResumableTestLoop, make_fingerprint
from ..evaluation.confusion_metric import count_pairs
from ..evaluation.resumable_test_loop import image_names
from ..evaluation.store import Records, Store
from ..models.decision import DecisionRule
from ..models.fusion import WindowMaps
from ..utils.errors import InputError
from .grid import Setting
from .maps import MapFiles

FOLDER = 'kept'


@dataclass(frozen=True)
class SettingResult:
    """A setting and its result."""

    setting: Setting
    result: Result

    @property
    def mIoU(self) -> float:
        """In percent, unrounded."""
        return self.result.mIoU


@LOOPS.register_module()
class ThresholdSweepLoop(ResumableTestLoop):
    """Encodes each image once, and applies the decision rule with each setting.

    The score maps of the windows and the counts of each setting are saved in ``WORK_DIR/kept``, so
    that an interrupted run can be resumed and further settings do not need the towers.

    Args:
        runner, dataloader: See :class:`..evaluation.ResumableTestLoop`.
        evaluator: One ``ConfusionMetric``.
        settings: Values of each :class:`.grid.Setting`.
        keep_maps: Whether to save the maps.
        **kwargs: See :class:`..evaluation.ResumableTestLoop`.

    Raises:
        InputError: If the evaluator or the batch sampler is not supported.
    """

    restart = f'choose another --work-dir, or remove the folder {FOLDER} in it'

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        settings: Sequence[Sequence[float | None]],
        keep_maps: bool = True,
        **kwargs: Any,
    ):
        super().__init__(runner, dataloader, evaluator, **{**kwargs, 'resume': True})
        metrics = self.evaluator.metrics
        if [type(metric) for metric in metrics] != [ConfusionMetric] or metrics[0].format_only:
            raise InputError('a sweep needs test_evaluator to be one ConfusionMetric')
        self.metric: ConfusionMetric = metrics[0]
        self.settings = [Setting._make(values) for values in settings]
        self.keep_maps = keep_maps
        self.results: list[SettingResult] = []
        self._announced = False

    def open_store(self) -> Store:
        """Open the store of the counts; its fingerprint does not contain the swept values."""
        without = {f'model.test_cfg.{name}' for name in Setting._fields}
        found = make_fingerprint(self.runner.cfg, self.dataloader.dataset)
        self.maps = MapFiles(Path(self.runner.work_dir) / FOLDER / 'maps')
        fingerprint = {
            key: value
            for key, value in found.items()
            if key not in without and key != 'show_dir' and not key.startswith('test_cfg.')
        }
        return Store(self.maps.folder.parent, fingerprint, self.restart)

    def read(self) -> Records:
        """Read the records of images, ignoring a ``result.npz`` of the config's own setting."""
        records, warnings = self.store.read()
        for warning in warnings:
            self.runner.logger.warning(warning)
        return records

    def is_done(self, record: dict[tuple, Tensor]) -> bool:
        """Whether all settings are counted."""
        return record.keys() >= {tuple(setting) for setting in self.settings}

    def run_images(self) -> None:
        """Evaluate the images for which a setting is missing."""
        kept = sum(self.maps.path(index).is_file() for index in self._pending)
        if kept:
            self.runner.logger.info(
                f'Maps of {kept} of the other images are saved, and will be read'
            )
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        self.runner.model.eval()
        for idx, data_batch in enumerate(self.dataloader):
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_test')

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Evaluate all settings on a batch."""
        hook = dict(batch_idx=idx, data_batch=data_batch)
        self.runner.call_hook('before_test_iter', **hook)
        indices = self.indices_of(idx)
        data = self.runner.model.data_preprocessor(data_batch, False)
        images, samples = data['inputs'], data['data_samples']
        maps = self._find_maps(indices, images, samples)
        records = {}
        for index, image, sample in zip(indices, images, samples):
            records[index] = self._decide(index, maps.pop(0), image, sample)
        self.keep(records, is_last=idx + 1 == len(self.dataloader))
        self.runner.call_hook('after_test_iter', **hook, outputs=samples)

    def _find_maps(
        self, indices: Sequence[int], images: Tensor, samples: list[SegDataSample]
    ) -> list[WindowMaps]:
        """Read the maps of a batch, or compute and save them."""
        model = self.runner.model
        kept = [self.maps.load(index, model.class_ids.device) for index in indices]
        whole = [each for each in kept if each is not None]
        if len(whole) == len(kept):
            return whole
        # The whole batch, so that numbers do not depend on where a run was interrupted.
        maps = model.encode_images(images, samples)
        if self.keep_maps:
            self._announce(maps[0])
            for index, each in zip(indices, maps):
                self.maps.save(index, each)
        return maps

    def _announce(self, maps: WindowMaps) -> None:
        """Log once how much disk space the maps need, and check that it is available."""
        if not self._announced:
            missing = [i for i in self._pending if not self.maps.path(i).is_file()]
            size = maps.cells.numel() * maps.cells.element_size()
            words = self.maps.check_space(size, len(missing))
            self.runner.logger.info(f'Saving to {self.maps.folder}: {words}')
        self._announced = True

    def _decide(
        self, index: int, maps: WindowMaps, image: Tensor, sample: SegDataSample
    ) -> dict[tuple, Tensor]:
        """Counts of an image with each setting: known ones, and newly computed ones."""
        model, metric = self.runner.model, self.metric
        found = dict(self._records.get(index, {}))
        test_cfg = self.runner.cfg.model.test_cfg
        todo: dict[DecisionRule, list[Setting]] = defaultdict(list)
        for setting in self.settings:
            if tuple(setting) not in found:
                todo[setting.rule(test_cfg)].append(setting)
        label = sample.gt_sem_seg.data[0].to(maps.cells.device)
        num_classes = len(metric.dataset_meta['classes'])
        for rule, classes in model.decide_variants(maps, image, sample, list(todo)):
            counts = count_pairs(label, classes, num_classes, metric.ignore_index).int()
            found.update((tuple(setting), counts) for setting in todo[rule])
        return found

    def finish(self) -> None:
        """Collect the counts of each setting into a result."""
        dataset = self.dataloader.dataset
        paths = [dataset.get_data_info(index)['img_path'] for index in self._share]
        names, classes = image_names(dataset, paths), self.metric.dataset_meta['classes']
        for setting in self.settings:
            counts = [self._records[index][tuple(setting)].numpy() for index in self._share]
            values = {f'model.test_cfg.{k}': v for k, v in setting._asdict().items()}
            fingerprint = {**self.store.fingerprint, **values}
            result = Result.from_counts(names, counts, classes, fingerprint=fingerprint)
            self.results.append(SettingResult(setting, result))
