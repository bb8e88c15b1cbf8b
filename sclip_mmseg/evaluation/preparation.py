"""Prepare an evaluation: apply the options to the config, and check data and settings."""

import copy
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope

from ..config import merge_options, read_config, set_checkpoint
from ..custom import import_customs
from ..datasets.background import Background
from ..datasets.checks import check_classes, check_files, check_ignored, check_labels, load_dataset
from ..datasets.images import check_images
from ..datasets.parts import image_paths, parts_of
from ..engine.loader_workers import check_dataloader
from ..models import PLAIN_DICTS
from ..models.decision import find_background
from ..models.simfeatup import find_upsampler
from ..models.test_cfg import read_test_cfg
from ..models.texts import read_texts
from ..regions import RegionFiles
from ..registry import type_name
from ..towers.proxy import find_proxy
from ..utils.errors import InputError
from ..utils.files import make_folder
from ..utils.spelling import check_config
from .boundary import RATIO

PathLike = str | os.PathLike
_IOU_METRICS = ('IoUMetric', 'ConfusionMetric')


@dataclass(frozen=True)
class Options:
    """Options of an evaluation, apart from its config.

    Attributes:
        work_dir: Folder for logs and the result; None for ``work_dirs/NAME``.
        resume: Whether to resume an interrupted evaluation in ``work_dir``; the result of a
            finished one is read.
        out: Folder for predicted label maps.
        out_ids: Values of the label maps: ``'labels'``, the ids of the dataset's label files
            (default), or ``'classes'``, class indices.
        show: Whether to show predictions in a window.
        show_dir: Folder for overlays.
        wait_time: Seconds per shown image.
        cfg_options: Dotted key → value, which overrides that of the config.
        launcher: ``'none'``, or the launcher of this process: ``'pytorch'`` (torchrun),
            ``'slurm'`` or ``'mpi'``.
        tta: Whether to average views of each image (the config's ``tta_pipeline``).
        boundary_iou: Whether to compute Boundary IoU (:mod:`.boundary`).
        oracles: Whether to also evaluate with known classes and with known outlines
            (:mod:`.oracles`); the results are ``oracle_NAME.npz`` in ``work_dir``.
    """

    work_dir: PathLike | None = None
    resume: bool = False
    out: PathLike | None = None
    out_ids: str | None = None
    show: bool = False
    show_dir: PathLike | None = None
    wait_time: float = 2.0
    cfg_options: Mapping[str, Any] | None = None
    launcher: str = 'none'
    tta: bool = False
    boundary_iou: bool = False
    oracles: bool = False


def prepare_config(
    config: PathLike | Config, checkpoint: str | None = None, **given: Any
) -> Config:
    """Read a config and apply options to it.

    Args:
        config, checkpoint: See :func:`.run.evaluate`.
        **given: Attributes of :class:`Options`.

    Raises:
        InputError: If the config does not exist, or has an unknown key.
    """
    options = Options(**given)
    cfg = copy.deepcopy(config) if isinstance(config, Config) else read_config(str(config))
    name = Path(cfg.filename).stem if cfg.filename else 'evaluation'
    if checkpoint:
        set_checkpoint(cfg, str(checkpoint))
    merge_options(cfg, options.cfg_options)
    import_customs(cfg)
    check_config(cfg, PLAIN_DICTS)
    cfg.launcher = options.launcher
    if options.work_dir or not cfg.get('work_dir'):
        cfg.work_dir = str(options.work_dir or os.path.join('./work_dirs', name))
    if options.resume:
        cfg.test_cfg.resume = True
    _use_confusion_metric(cfg)
    if options.boundary_iou:
        metric = _confusion_metric(cfg, '--boundary-iou')
        metric['boundary_ratio'] = metric.get('boundary_ratio') or RATIO
    if options.oracles:
        _add_oracles(cfg)
    if options.out or options.out_ids:
        _write_label_maps(cfg, options.out, options.out_ids)
    if not options.tta:  # mmseg's metrics and hooks do not read class scores
        cfg.model.test_cfg.setdefault('seg_logits', False)
    _draw_predictions(cfg, options.show, options.show_dir, options.wait_time)
    if options.tta:
        for part in parts_of(cfg.test_dataloader.dataset):
            part.pipeline = cfg.tta_pipeline
        cfg.tta_model.module = cfg.model
        cfg.model = cfg.tta_model
    # mmengine registers instances by name, and several runs may share this process.
    unique = f'{name}_{time.time_ns()}'
    cfg.setdefault('experiment_name', unique)
    if 'visualizer' in cfg:
        cfg.visualizer.name = unique
    return cfg


def make_folders(**folders: PathLike | None) -> None:
    """Create missing output folders, and check that they can be written to.

    Args:
        **folders: Name of an option → its folder, or None.

    Raises:
        InputError: If a folder cannot be written to.
    """
    for name, folder in folders.items():
        if folder:
            flag = f'--{name.replace("_", "-")}'
            make_folder(Path(folder), f'name another folder by {flag}')


def check(cfg: Config) -> BaseDataset:
    """Check data and settings, before weights are read or a GPU is used.

    Args:
        cfg: Config from :func:`prepare_config`.

    Returns:
        The dataset to evaluate on.

    Raises:
        InputError: If data or a setting cannot be used.
    """
    init_default_scope(cfg.default_scope)
    check_dataloader(cfg.test_dataloader)
    model = cfg.model.get('module', cfg.model)  # of test-time augmentation
    rule = read_test_cfg(model.test_cfg).rule
    background = find_background(model.image_encoder, rule.background)
    dataset = load_dataset(cfg.test_dataloader.dataset)
    check_files(dataset)
    queries = read_texts(**model.text_head).query_set
    num_classes = queries.num_classes + (background is Background.NO_QUERY)
    file = model.text_head.get('embeddings')
    check_classes(dataset, num_classes, background, str(file or 'text_head'))
    ignored = {metric.get('ignore_index', 255) for metric in _metrics(cfg)}
    check_ignored(dataset, ignored)
    check_labels(dataset, ignored)
    check_images(dataset)
    if isinstance(model.get('region_masks'), str):  # otherwise they are computed during the run
        RegionFiles(model.region_masks).check(image_paths(dataset))
    if model.image_encoder.get('proxy'):
        find_proxy(model.image_encoder.proxy.get('checkpoint'))
    if model.image_encoder.get('upsampler'):
        find_upsampler(model.image_encoder.upsampler.get('checkpoint'))
    return dataset


def _metrics(cfg: Config) -> list[dict]:
    """Configs of the metrics, as a list."""
    metrics = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    if not metrics or not all(isinstance(metric, dict) and 'type' in metric for metric in metrics):
        raise InputError(
            f'test_evaluator={cfg.test_evaluator!r} must be a dict with a type, or a list of them'
        )
    return metrics


def _use_confusion_metric(cfg: Config) -> None:
    """Replace an ``IoUMetric`` by ``ConfusionMetric``, unless there is one already."""
    kinds = [type_name(metric) for metric in _metrics(cfg)]
    prefixes = [m.get('prefix') for m in _metrics(cfg) if type_name(m) in _IOU_METRICS]
    if len({*prefixes}) < len(prefixes):
        raise InputError(
            f'test_evaluator has {len(prefixes)} metrics whose results would have the same names: '
            "give each another prefix, such as prefix='dice'"
        )
    if 'IoUMetric' in kinds and 'ConfusionMetric' not in kinds:
        _metrics(cfg)[kinds.index('IoUMetric')]['type'] = 'ConfusionMetric'


def _confusion_metric(cfg: Config, flag: str) -> dict:
    """The config of the ``ConfusionMetric``; ``flag`` is the option that needs it."""
    for metric in _metrics(cfg):
        if type_name(metric) == 'ConfusionMetric':
            return metric
    raise InputError(f'{flag} needs an IoUMetric or ConfusionMetric in test_evaluator')


def _add_oracles(cfg: Config) -> None:
    """Add the metrics of known classes and known outlines."""
    metric = _confusion_metric(cfg, '--oracles')
    kept = {key: metric[key] for key in ('ignore_index', 'boundary_ratio') if key in metric}
    masks = cfg.model.get('region_masks')
    cfg.test_evaluator = [
        *_metrics(cfg),
        dict(type='KnownClassesOracle', prefix='known-classes', **kept),
        dict(type='RegionOracle', prefix='regions', regions=masks, **kept),
    ]
    cfg.model.test_cfg.seg_logits = True


def _write_label_maps(cfg: Config, out: PathLike | None, out_ids: str | None) -> None:
    """Set the output folder of a metric; ``ConfusionMetric`` is preferred, as it writes all ids."""
    metrics = _metrics(cfg)
    counting = [metric for metric in metrics if type_name(metric) == 'ConfusionMetric']
    able = [each for each in metrics if type_name(each) in _IOU_METRICS or 'output_dir' in each]
    if not able:
        raise InputError('--out needs an IoUMetric or ConfusionMetric in test_evaluator')
    metric = (counting or able)[0]
    if out:
        metric['output_dir'] = str(out)
    if out_ids:
        if not counting or not metric.get('output_dir'):
            raise InputError(
                '--out-ids selects the ids in the label maps of --out: name a folder by --out, and '
                'use ConfusionMetric or IoUMetric as test_evaluator'
            )
        metric['out_ids'] = out_ids


def _draw_predictions(cfg: Config, show: bool, show_dir: PathLike | None, wait_time: float) -> None:
    """Enable drawing, or remove the hook, since mmseg warns about one that does not draw."""
    hook = cfg.setdefault('default_hooks', {}).get('visualization')
    if show or show_dir:
        if hook is None:
            raise InputError(
                '--show and --show-dir need default_hooks.visualization, which the config lacks'
            )
        hook.update(draw=True, show=show, wait_time=wait_time)
        if type_name(hook) == 'SegVisualizationHook':  # which cannot read all maps
            hook['type'] = 'OverlayHook'
        if show_dir:
            cfg.visualizer.save_dir = str(show_dir)
    elif hook is not None and not hook.get('draw'):
        cfg.default_hooks.pop('visualization')
