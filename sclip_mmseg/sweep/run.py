"""The sweep of a config's thresholds."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..evaluation.preparation import PathLike, check, make_folders, prepare_config
from ..evaluation.run import run
from ..utils.errors import InputError
from . import grid, report
from .loop import SettingResult


def sweep(
    config: PathLike | Config,
    checkpoint: str | None = None,
    *,
    values: Mapping[str, Sequence[float | None] | None],
    work_dir: PathLike | None = None,
    keep_maps: bool = True,
    cfg_options: Mapping[str, Any] | None = None,
) -> list[SettingResult]:
    """Evaluate all combinations of values, and a config's own; print, write and draw the table.

    Args:
        config, checkpoint, cfg_options: See :func:`..evaluation.evaluate`.
        values: Key of ``model.test_cfg`` (a field of :class:`.grid.Setting`) → values.
        work_dir: Folder for tables and maps; None for ``work_dirs/sweep_NAME``.
        keep_maps: Whether to save maps, with which further settings do not need the towers.

    Returns:
        The results, each equal to that of a separate evaluation.

    Raises:
        InputError: If an argument cannot be used.
    """
    if int(os.environ.get('WORLD_SIZE', 1)) > 1:
        raise InputError('a sweep runs in one process: start it by python, without torchrun')
    cfg = prepare_config(config, checkpoint, work_dir=work_dir, cfg_options=cfg_options)
    name = Path(cfg.filename).stem
    if not work_dir:
        cfg.work_dir = f'./work_dirs/sweep_{name}'
    dataset = check(cfg)
    test_cfg = cfg.model.test_cfg
    grid.check_values(test_cfg, values, dataset.metainfo['classes'])
    settings = grid.make_grid(test_cfg, values)
    if values.get('logit_scale') and not grid.scale_matters(settings):
        warnings.warn(
            'without a threshold or background, logit_scale does not change classes: all settings '
            'give the same numbers',
            stacklevel=2,
        )
    make_folders(work_dir=cfg.work_dir)
    listed = [list(setting) for setting in settings]
    cfg.test_cfg = dict(type='ThresholdSweepLoop', settings=listed, keep_maps=keep_maps)
    results = run(cfg, dataset).results
    report.write(results, grid.setting_of(test_cfg), name, Path(cfg.work_dir))
    return results
