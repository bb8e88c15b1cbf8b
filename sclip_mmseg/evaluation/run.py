"""Run an evaluation; all commands and tools use :func:`evaluate`."""

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
    quiet: bool = False,
    **options: Any,
) -> Result | None:
    """Evaluate a config on its dataset, after checking settings and data.

    Args:
        config: A config, its path, or a shipped one as ``sclip_mmseg::sclip/NAME.py``. It is not
            modified.
        checkpoint: A CLIP by name or path, or the file of GroupViT, TCL or SAM 3; None or
            ``'none'`` for the config's own weights.
        quiet: Whether the terminal shows only the progress; the log file has everything.
        **options: See :class:`.preparation.Options`.

    Returns:
        The result, which is also saved as ``result.npz`` in ``work_dir``. None in processes
        other than the first, and if no metric counts pixels (``format_only``, or neither
        ``IoUMetric`` nor ``ConfusionMetric``).

    Raises:
        InputError: If an argument cannot be used.
        KeyboardInterrupt: If interrupted; its message says how much is done.
    """
    cfg = prepare_config(config, checkpoint, **options)
    make_folders(work_dir=cfg.work_dir, out=options.get('out'), show_dir=options.get('show_dir'))
    return getattr(run(cfg, check(cfg), quiet), 'result', None)


def run(cfg: Config, dataset: BaseDataset, quiet: bool = False) -> BaseLoop:
    """Run the test loop of a config.

    Args:
        cfg: Config from :func:`.preparation.prepare_config`.
        dataset: The config's dataset, from :func:`.preparation.check`.
        quiet: See :func:`evaluate`.

    Returns:
        The loop, after its run.

    Raises:
        InputError: If a setting cannot be used, or the disk is full.
    """
    join_processes(cfg.launcher, cfg.get('env_cfg', {}).get('dist_cfg', {}))
    try:
        runner = (QuietRunner if quiet else EvaluationRunner).from_cfg(cfg)
        runner.use_dataset(dataset)
        runner.test()
    except OSError as error:
        if place := explain_full_disk(error, [cfg.work_dir]):
            raise InputError(f'{place}: free disk space there') from error
        raise
    return runner.test_loop
