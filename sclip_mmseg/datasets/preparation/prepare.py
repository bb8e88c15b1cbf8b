"""Lay benchmarks out as the configs read them, from the official archives or extracted folders."""

import importlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from ...utils.download import download
from ...utils.errors import InputError
from ...utils.files import lock_file, make_folder
from ..benchmarks import BENCHMARKS, Archive
from .archives import close_archives
from .raw import MissingRaw, RawData
from .tasks import run_tasks


def prepare(
    benchmarks: Iterable[str],
    raw: Path,
    data_root: Path,
    nproc: int = 1,
    fetch: bool = False,
    context_annotation: str | None = None,
) -> list[str]:
    """Prepare one benchmark after the other; of those that cannot be, print why.

    Args:
        benchmarks: Their names; of several that share their files, the first one is made.
        raw: Folder with official archives, extracted folders or both, at any depth.
        data_root: Folder to write to.
        nproc: Number of processes.
        fetch: Whether to download what is missing in ``raw`` and needs no login.
        context_annotation: ``'json'`` or ``'mat'``, which PASCAL Context is made of.

    Returns:
        The names of those that could not be made.
    """
    # COCO-Stuff164k lends COCO-Object its images.
    wanted = sorted(benchmarks, key='coco_object'.__eq__)
    by_converter = {BENCHMARKS[benchmark].converter: benchmark for benchmark in reversed(wanted)}
    failed = []
    for benchmark in reversed(by_converter.values()):
        try:
            _prepare(benchmark, raw, data_root, nproc, fetch, context_annotation)
        except InputError as error:
            failed.append(benchmark)
            print(f'{benchmark}: {error}')
        finally:
            close_archives()
    return failed


def _prepare(
    benchmark: str,
    folder: Path,
    data_root: Path,
    nproc: int,
    fetch: bool,
    annotation: str | None,
) -> None:
    """Make one benchmark's files.

    Raises:
        InputError: If raw files are missing or damaged.
    """
    name = BENCHMARKS[benchmark].converter
    plan = importlib.import_module(f'.converters.{name}', __package__).plan
    if name == 'pascal_context':
        plan = partial(plan, annotation=annotation)
    if fetch:
        make_folder(folder, 'name another folder with --raw')
    fetched = set()
    while True:
        try:
            raw = RawData(folder)
            tasks = plan(raw, data_root)
            break
        except MissingRaw as error:
            url = error.archive.url
            if not fetch or not url or error.archive in fetched:
                raise
            _fetch(error.archive, url, folder)
            fetched.add(error.archive)
    remedy = 'name another folder with --data-root'
    with lock_file(data_root / f'.{name}', remedy) as show_life:
        made = run_tasks(tasks, raw.digests, nproc, name, show_life)
    images = sum(task.target.suffix != '.txt' for task in tasks) // 2  # the others are labels
    print(f'{benchmark}: {images} images; {made} files made, {len(tasks) - made} were there')
    if difference := BENCHMARKS[benchmark].compare_count(images):
        print(f'  note: {difference}')


def _fetch(archive: Archive, url: str, folder: Path) -> None:
    """Download an archive; a broken transfer is continued, by a later run too."""
    assert archive.url
    print(f'{archive.name} of {archive.page} (see its terms there)')
    download(
        url,
        folder / archive.name,
        archive.digest or archive.url_digest,
        remedy='name another folder with --raw',
    )
