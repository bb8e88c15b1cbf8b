"""Evaluate pairs of method and benchmark, each in separate processes."""

import argparse
import hashlib
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from torch import multiprocessing

from ..config import check_shared_checkpoint
from ..datasets.checks import check_files, load_dataset
from ..evaluation import Result, list_changes, make_fingerprint
from ..evaluation.machine import check_processes
from ..evaluation.preparation import prepare_config
from ..evaluation.resumable_test_loop import RESULT_FILE
from ..utils.errors import InputError, join_first
from ..utils.files import make_folder
from ..utils.shipped import shipped_root
from .pairs import CHECKPOINTS, find_pairs
from .published import split_name
from .results import Pair, to_markdown, write_classes, write_results
from .variants import NAMES, PROTOCOLS
from .worker import work

_PATIENCE = 10.0  # seconds that an interrupted process has to save its results


@dataclass
class Options:
    """Options for all pairs.

    Attributes:
        work_dir: Folder in which each pair gets a folder.
        checkpoint: CLIP or trained system, by name or path; None for the configs' own.
        limit: Number of images per benchmark; None for all.
        cfg_options: Options as of ``tools/test.py``; ``{benchmark}`` stands for the benchmark's
            name.
        processes: Number of processes that share the images of a pair.
        boundary_iou: Whether to compute Boundary IoU, see :func:`..evaluation.evaluate`.
    """

    work_dir: Path
    checkpoint: str | None = None
    limit: int | None = None
    cfg_options: Sequence[str] = ()
    processes: int = 1
    boundary_iou: bool = False

    def describe(self) -> dict[str, str]:
        """Describe the options for the tables of results."""
        about = dict(checkpoint=self.checkpoint or "the configs' own")
        if self.limit:
            about['images'] = (
                f'only the first {self.limit} of each benchmark: not the published task'
            )
        if self.cfg_options:
            about['cfg-options'] = ' '.join(self.cfg_options)
        return about


def run_suite(
    methods: Sequence[str] | None = None,
    benchmarks: Sequence[str] | None = None,
    backbone: str = 'vit-b16',
    *,
    checkpoint: str | None = None,
    processes: int = 1,
    limit: int | None = None,
    work_dir: Path | None = None,
    cfg_options: Sequence[str] = (),
    boundary_iou: bool = False,
    configs: Sequence[str] = (),
    names: Sequence[str] = NAMES[:1],
    protocols: Sequence[str] = PROTOCOLS[:1],
) -> list[Pair]:
    """Evaluate methods on benchmarks, and write and print a table against the published numbers.

    Args:
        methods, benchmarks, backbone, configs, names, protocols: See :func:`.pairs.find_pairs`.
        checkpoint, processes, limit, cfg_options, boundary_iou: See :class:`Options`.
        work_dir: Output folder; None for ``work_dirs/benchmark``, with backbone and limit in its
            name if they are not the defaults.

    Raises:
        InputError: If an argument cannot be used, or in the first process of a launcher.
        SystemExit: In the other processes of a launcher.
    """
    world = int(os.environ.get('WORLD_SIZE', 1))
    if world > 1:
        if os.environ.get('RANK', '0') != '0':
            raise SystemExit(0)
        raise InputError(
            f'start benchmark.py with --processes {world}, not by torchrun: it starts the '
            'processes itself'
        )
    check_processes(processes)
    if work_dir is None:
        parts = ['benchmark', backbone.replace('vit-b16', ''), str(limit or '')]
        work_dir = Path('work_dirs', '_'.join(filter(None, parts)))
    checkpoint = checkpoint or CHECKPOINTS.get(backbone)
    options = Options(work_dir, checkpoint, limit, cfg_options, processes, boundary_iou)
    pairs = find_pairs(methods, benchmarks, backbone, configs, names, protocols)
    if limit:  # published numbers are those of all images
        for pair in pairs:
            pair.published = None
    evaluate_pairs(pairs, options)
    print(to_markdown(pairs, options.describe()))
    print(f'{work_dir.resolve()}/results.{{md,csv,json,png}}, per_class/*.csv')
    return pairs


def evaluate_pairs(pairs: Sequence[Pair], options: Options) -> None:
    """Evaluate all pairs, write the tables at first and after each, and print the progress.

    Pairs that have a result are not evaluated again; an interrupted one is resumed.

    Args:
        pairs: Pairs from :func:`.pairs.find_pairs`, which are filled in.
        options: Options for all pairs.

    Raises:
        InputError: If a setting cannot be used, before the first pair is evaluated.
    """
    datasets: dict[str, Any] = {}
    configs = {pair.name: prepare(pair, options, datasets) for pair in pairs}
    if options.checkpoint:
        check_shared_checkpoint(configs, '--checkpoint')
    make_folder(options.work_dir, 'name another folder by --work-dir')
    for pair in pairs:
        if pair.status == 'done':
            _fill_in(pair, options)
    write_results(options.work_dir, pairs, options.describe())
    for number, pair in enumerate(pairs, 1):
        if pair.status == 'open':
            folder = options.work_dir / pair.name
            print(f'[{number}/{len(pairs)}] {pair.name}: {pair.images} images, see {folder}')
            reason = run_in_processes(folder, options.processes, _arguments(pair, options))
            if reason:
                pair.status, pair.reason = 'failed', reason
            _fill_in(pair, options)
            write_results(options.work_dir, pairs, options.describe())


def _fill_in(pair: Pair, options: Options) -> None:
    """Read the result of a pair, if it has one, and write the numbers of its classes."""
    path = options.work_dir / pair.name / RESULT_FILE
    if path.is_file():
        result = Result.load(path)
        pair.fill_in(result)
        write_classes(options.work_dir / 'per_class', pair.name, result.by_class())


def prepare(pair: Pair, options: Options, datasets: dict[str, Any]) -> Config:
    """Check the dataset and the settings of a pair, and whether it has been evaluated already.

    Args:
        pair: The pair, which is filled in.
        options: Options for all pairs.
        datasets: Cache, benchmark → dataset or the error that says what is missing.

    Returns:
        The pair's config.

    Raises:
        InputError: If a setting cannot be used, or a finished evaluation had other settings.
    """
    arguments = _arguments(pair, options)
    cfg = prepare_config(**arguments)
    init_default_scope(cfg.default_scope)
    if pair.benchmark not in datasets:
        try:
            datasets[pair.benchmark] = dataset = load_dataset(cfg.test_dataloader.dataset)
            check_files(dataset)
        except InputError as error:
            datasets[pair.benchmark] = error
    dataset = datasets[pair.benchmark]
    if isinstance(dataset, InputError):
        pair.status, pair.reason = 'missing', str(dataset)
        return cfg
    try:
        fingerprint = make_fingerprint(cfg, dataset)
    except InputError as error:
        raise InputError(f'{pair.name}: {error}') from error
    pair.images = len(dataset)
    keys = 'image_encoder.checkpoint', 'image_encoder.clip', 'image_encoder.tower.checkpoint'
    pair.weights = next(filter(None, (_digest(fingerprint, key) for key in keys)), '')
    queries = [value for key, value in fingerprint.items() if '.text_head.queries.' in key]
    given = _digest(fingerprint, 'text_head.embeddings')
    pair.queries = given or hashlib.sha256(json.dumps(queries).encode()).hexdigest()
    if is_finished(options.work_dir / pair.name, fingerprint):
        pair.status = 'done'
    return cfg


def is_finished(folder: Path, fingerprint: dict[str, Any]) -> bool:
    """Whether a folder contains the result of an evaluation.

    Raises:
        InputError: If the result is of other settings, or of an earlier version.
    """
    remedy = 'name another --work-dir, or remove the folder to run it again'
    path, old = folder / RESULT_FILE, folder / 'result.json'
    if not path.is_file():
        if old.is_file():
            raise InputError(f'{old} was written by an earlier version: {remedy}')
        return False
    try:
        changes, _ = list_changes(Result.load(path).fingerprint, fingerprint)
    except InputError:  # damaged: evaluate again
        return False
    if changes:
        raise InputError(f'{path} was made with other settings, {join_first(changes)}: {remedy}')
    return True


def _arguments(pair: Pair, options: Options) -> dict[str, Any]:
    """Arguments of :func:`..evaluation.evaluate` for a pair."""
    words = [word.replace('{benchmark}', pair.benchmark) for word in options.cfg_options]
    if options.limit:
        words.append(f'test_dataloader.dataset.indices={options.limit}')
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    options_given = parser.parse_args(['--cfg-options', *words] if words else []).cfg_options
    # A config of the backbone itself (Talk2DINO) names its towers.
    named = pair.backbone and split_name(Path(pair.config).stem)[1]
    return dict(
        config=shipped_root() / pair.config,
        checkpoint=None if options.checkpoint == CHECKPOINTS.get(named) else options.checkpoint,
        work_dir=options.work_dir / pair.name,
        resume=True,
        cfg_options={**pair.options, **options_given},
        launcher='pytorch' if options.processes > 1 else 'none',
        boundary_iou=options.boundary_iou,
    )


def _digest(fingerprint: dict[str, Any], name: str) -> str:
    [value] = [value for key, value in fingerprint.items() if key.endswith(name)] or ['']
    return value.replace('SHA-256 ', '')


def run_in_processes(folder: Path, processes: int, arguments: dict[str, Any]) -> str:
    """Evaluate in several processes on this machine, which end with this process.

    Args:
        folder: The work directory, created if missing. Warnings and tracebacks go to its
            ``console.log``.
        processes: Number of processes.
        arguments: Arguments of :func:`..evaluation.evaluate`.

    Returns:
        An error message, empty on success.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / 'console.log'
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    context = multiprocessing.start_processes(
        work, (processes, port, log, arguments), processes, join=False, start_method='spawn'
    )
    try:
        while not context.join():
            pass
    except KeyboardInterrupt:  # all processes get it, and save their results
        for process in context.processes:
            process.join(_PATIENCE)
        raise
    except multiprocessing.ProcessRaisedException as error:
        with open(log, 'a', encoding='utf-8') as file:
            file.write(f'{error}\n')
        return str(error).strip().splitlines()[-1].rpartition('InputError: ')[2]
    except multiprocessing.ProcessExitedException as error:
        return str(error)
    finally:
        for process in context.processes:
            process.terminate()
    return '' if (folder / RESULT_FILE).is_file() else f'it ended without a result, see {log}'
