"""The one way to run an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.runner.base_loop import BaseLoop

from ..engine.evaluation_runner import EvaluationRunner, QuietRunner
from ..engine.joining import join_processes
from ..utils.errors import InputError
from ..utils.files import explain_full_disk
from .preparation import PathLike, check, make_folders, prepare_config
from .result import Result


def evaluate(
    config: PathLike | Config,
    checkpoint: str | None = None,
    *,
    work_dir: PathLike | None = None,
    resume: bool = False,
    out: PathLike | None = None,
    out_ids: str | None = None,
    show: bool = False,
    show_dir: PathLike | None = None,
    wait_time: float = 2.0,
    cfg_options: Mapping[str, Any] | None = None,
    launcher: str = 'none',
    tta: bool = False,
    boundary_iou: bool = False,
    oracles: bool = False,
    quiet: bool = False,
) -> Result | None:
    """Evaluate a config on its dataset, after checks of all that can be checked beforehand.

    Args:
        config: A config, its path, or a shipped one as ``sclip_mmseg::sclip/NAME.py``. It stays as
            it is.
        checkpoint: CLIP by name or path, or for GroupViT and TCL their own file; None or
            ``'none'`` for the config's.
        work_dir: Folder for logs and the result; ``work_dirs/NAME`` by default.
        resume: Whether to resume an interrupted evaluation of ``work_dir``; one that is finished
            is read.
        out: Folder for predicted label maps.
        out_ids: What they hold: ``'labels'``, the ids of the dataset's label files (default), or
            ``'classes'``, class indices.
        show: Whether to show predictions in a window.
        show_dir: Folder for painted images.
        wait_time: Seconds per shown image.
        cfg_options: Dotted key → value, over those of the config.
        launcher: ``'none'``, or what started this process: ``'pytorch'`` (torchrun), ``'slurm'``
            or ``'mpi'``.
        tta: Whether to average views of each image (the config's ``tta_pipeline``).
        boundary_iou: Whether to count boundaries for the Boundary IoU too (:mod:`.boundary`).
        oracles: Whether to count as well what would be reached if the classes of each image, or
            the outlines of regions, were known (:mod:`.oracles`); ``oracle_NAME.npz`` in
            ``work_dir`` are their results.
        quiet: Whether the terminal shows progress alone; the log file has everything.

    Returns:
        The result, which is saved as ``result.npz`` in ``work_dir`` as well. None in processes
        other than the first, and of metrics that count no pixels (``format_only``, or neither
        ``IoUMetric`` nor ``ConfusionMetric``).

    Raises:
        InputError: If something given cannot be used.
        KeyboardInterrupt: If interrupted, with words on what is done.
    """
    cfg = prepare_config(
        config,
        checkpoint,
        work_dir=work_dir,
        resume=resume,
        out=out,
        out_ids=out_ids,
        show=show,
        show_dir=show_dir,
        wait_time=wait_time,
        cfg_options=cfg_options,
        launcher=launcher,
        tta=tta,
        boundary_iou=boundary_iou,
        oracles=oracles,
    )
    make_folders(work_dir=cfg.work_dir, out=out, show_dir=show_dir)
    return getattr(run(cfg, check(cfg), quiet), 'result', None)


def run(cfg: Config, dataset: BaseDataset, quiet: bool = False) -> BaseLoop:
    """Run the test loop of a config.

    Args:
        cfg: From :func:`.preparation.prepare_config`.
        dataset: Of the config, from :func:`.preparation.check`.
        quiet: See :func:`evaluate`.

    Returns:
        The loop, after its run.

    Raises:
        InputError: If something cannot be used, or the disk is full.
    """
    join_processes(cfg.launcher, cfg.get('env_cfg', {}).get('dist_cfg', {}))
    try:
        runner = (QuietRunner if quiet else EvaluationRunner).from_cfg(cfg)
        runner.take_dataset(dataset)
        runner.test()
    except OSError as error:
        if place := explain_full_disk(error, [cfg.work_dir]):
            raise InputError(f'{place}: make room there') from error
        raise
    return runner.test_loop
