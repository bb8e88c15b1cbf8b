"""Evaluate methods on your own labelled images, as ``sclip evaluate`` does."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..apis.own_config import own_config
from ..config import check_shared_checkpoint
from ..datasets import QUERY_LISTS, load_queries
from ..datasets.checks import load_dataset
from ..datasets.folder import find_problems
from ..datasets.folder.layout import OwnImages
from ..datasets.query_set import Queries
from ..evaluation import Result, evaluate, make_fingerprint
from ..evaluation.compare import find_oracles
from ..evaluation.compare import write as write_comparison
from ..evaluation.comparison import Comparison
from ..evaluation.contact_sheets import write_contact_sheets
from ..evaluation.machine import check_processes
from ..evaluation.preparation import check, prepare_config
from ..evaluation.result_images import find_images
from ..evaluation.resumable_test_loop import RESULT_FILE
from ..registry import in_scope
from ..utils.errors import InputError
from ..utils.files import make_folder
from ..zoo import default_method, warn_of_toy
from .suite import is_finished, run_in_processes
from .tables import write_tables

PREDICTIONS = 'predictions'  # folder of a method's label maps
COMPARISON = 'comparison'


def make_config(
    data: OwnImages,
    classes: Queries | None,
    method: str,
    *,
    background: bool | str | Sequence[str] = False,
    clip: str | None = None,
    regions: str | dict | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> Config:
    """Make the config that evaluates a method on labelled images, also for ``tools/test.py``.

    Args:
        data: The images and labels.
        classes: See :func:`..apis.build_segmentor`; None for the categories of a COCO file, or the
            names in a table of colours.
        method, background, clip, regions, cfg_options: See :func:`..apis.build_segmentor`.

    Raises:
        InputError: If an argument cannot be used.
    """
    dataset = data.dataset()
    if classes is None:
        classes = _names_of(dataset, bool(background))
    options = {
        'test_dataloader.dataset': dict(dataset, _delete_=True),
        'test_evaluator': dict(type='ConfusionMetric', iou_metrics=['mIoU'], _delete_=True),
    }
    own = own_config(classes, background, method, clip, {**options, **(cfg_options or {})}, regions)
    cfg = own.cfg
    cfg.pop('data_root', None)  # only for benchmarks
    cfg.test_dataloader.dataset.pipeline = cfg.test_pipeline
    if 'classes' not in cfg.test_dataloader.dataset:
        cfg.test_dataloader.dataset.classes = _plain(classes)
    if background:
        cfg.test_dataloader.dataset.background = True
    if len(own.names) > 255:
        cfg.test_evaluator.ignore_index = 65535
    # The file name of the base config is a benchmark's.
    return Config(cfg.to_dict(), cfg_text=cfg.text, filename=f'{name_of(method)}.py')


def _names_of(dataset: Mapping[str, Any], background: bool) -> list[str | list[str]]:
    with in_scope():
        found = load_dataset(dict(dataset, background=background, lazy_init=True)).metainfo
    ids = found['label_ids'] or [None] * len(found['classes'])
    pairs = list(zip(found['classes'], ids))[background:]
    return [[name] if each is None else f'{each}: {name}' for name, each in pairs]


def _plain(classes: Queries) -> str | list:
    """Classes as written in a config: the name of a shipped list, or synonyms."""
    if isinstance(classes, str) and classes in QUERY_LISTS:
        return classes
    query_set = load_queries(classes, warn=False)
    words = query_set.by_class
    if query_set.label_ids is None:
        return words
    return [f'{each}: {", ".join(group)}' for each, group in zip(query_set.label_ids, words)]


def evaluate_methods(
    data: OwnImages,
    classes: Queries | None = None,
    methods: Sequence[str] = (),
    *,
    background: bool | str | Sequence[str] = False,
    clip: str | None = None,
    regions: str | dict | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    out: str | Path = 'evaluated',
    processes: int = 1,
    boundary_iou: bool = False,
    oracles: bool = False,
    on_progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Result]:
    """Evaluate methods on labelled images, and write tables, contact sheets and a report.

    Methods that an earlier call with the same arguments evaluated are not evaluated again.

    Args:
        data: The images and labels, all of which are checked before weights are read.
        classes, background, clip, regions, cfg_options: See :func:`make_config`.
        methods: Names, see :func:`..apis.list_methods`; classes as ``package.module:Class``; or
            paths of configs. Empty for the default of :func:`..apis.build_segmentor`.
        out: Folder to write to; each method has a folder in it.
        processes: Number of processes that share checks and images, each on its own GPU.
        boundary_iou, oracles: See :func:`..evaluation.evaluate`.
        on_progress: Called with a line per step, and per problem of the images.

    Returns:
        Name of each evaluated method → its result.

    Raises:
        InputError: If an argument cannot be used, if images or labels have problems, or if a
            method failed.
        KeyboardInterrupt: On Ctrl-C; the same call resumes.
    """
    out = Path(out)
    check_processes(processes)
    methods = list(methods) or [default_method(clip)]
    options: dict[str, Any] = dict(
        background=background, clip=clip, regions=regions, cfg_options=cfg_options
    )
    arguments: dict[str, dict[str, Any]] = {}
    configs: dict[str, Config] = {}
    for method in methods:
        name = name_of(method)
        if name in configs or name == COMPARISON:
            raise InputError(f"two methods are called '{name}': name each once")
        arguments[name] = dict(
            config=make_config(data, classes, method, **options),
            work_dir=out / name,
            resume=True,
            out=out / name / PREDICTIONS,
            launcher='pytorch' if processes > 1 else 'none',
            boundary_iou=boundary_iou,
            oracles=oracles,
        )
        configs[name] = prepare_config(**arguments[name])
    if clip:
        check_shared_checkpoint(configs, '--clip')
    _check_images(next(iter(configs.values())), processes, on_progress)
    warn_of_toy(clip, [data.images])
    make_folder(out, 'name another folder by --out')
    datasets = {name: check(cfg) for name, cfg in configs.items()}
    results: dict[str, Result] = {}
    failed: dict[str, str] = {}
    for number, (name, cfg) in enumerate(configs.items(), 1):
        folder = out / name
        place = f'[{number}/{len(configs)}] {name}'
        if is_finished(folder, make_fingerprint(cfg, datasets[name])):
            on_progress(f'{place}: done before, see {folder}')
        else:
            on_progress(f'{place}: {len(datasets[name])} images, see {folder}')
            if reason := _run(arguments[name], processes):
                failed[name] = reason
                on_progress(f'{place}: failed, {reason}')
                continue
        results[name] = Result.load(folder / RESULT_FILE)
    if results:
        about = {kind: str(value) for kind, value in vars(data).items() if value is not None}
        on_progress(write_outputs(results, out, about))
    if failed:
        reasons = '; '.join(f'{name}: {reason}' for name, reason in failed.items())
        raise InputError(f'{len(failed)} of {len(configs)} methods failed: {reasons}')
    return results


def name_of(method: str) -> str:
    """Name of a method's folder, and of its row in tables."""
    if method.endswith('.py'):
        return Path(method).stem
    return method.rpartition(':')[2]


def write_outputs(results: Mapping[str, Result], out: Path, about: Mapping[str, str]) -> str:
    """Write tables, contact sheets and the report.

    Args:
        results: Name → result; the name is also that of its work directory in ``out``.
        out: An existing folder.
        about: Facts about all results, for the tables.

    Returns:
        The tables as text, and the paths of the files.
    """
    text = write_tables(results, out, about)
    folders = {name: out / name for name in results}
    comparison = Comparison.of(results, find_oracles(results, folders))
    images = find_images(results, folders)
    sheets = write_contact_sheets(comparison, images, out)
    write_comparison(comparison, folders, out / COMPARISON, images=images)
    kinds = f'{out.resolve()}/results.{{md,csv,tex,json}}'
    report = f'{(out / COMPARISON).resolve()}/report.html'
    return '\n'.join([text, kinds, f'{sheets[0].resolve()}', report])


def _check_images(cfg: Config, processes: int, on_progress: Callable[[str], None]) -> None:
    with in_scope():
        dataset = load_dataset(cfg.test_dataloader.dataset)
    found = find_problems(dataset, processes)
    for problem in found.problems:
        on_progress(problem)
    if found.problems:
        count = len(found.problems)
        raise InputError(f'{count} problem{"s" * (count > 1)} with images and labels, listed above')
    names = dataset.metainfo['classes']
    absent = [name for name, count in zip(names, found.pixels) if not count]
    if absent:
        warnings.warn(
            f'no label has {", ".join(absent)}: the IoU of such a class is 0, or none where it is '
            'never predicted',
            stacklevel=3,
        )


def _run(arguments: dict[str, Any], processes: int) -> str:
    """Evaluate with arguments of :func:`..evaluation.evaluate`; return an error message or ''."""
    if processes > 1:
        return run_in_processes(arguments['work_dir'], processes, arguments)
    try:
        evaluate(**arguments, quiet=True)
    except InputError as error:
        return str(error)
    return ''
