"""Prepare benchmarks for the configs, from the official archives or extracted folders."""

from collections.abc import Iterable
from pathlib import Path

from ...utils.download import download
from ...utils.errors import InputError
from ...utils.files import lock_file, make_folder
from ..benchmarks import BENCHMARKS
from . import pascal_context
from .archives import close_archives
from .converters import CONVERTERS
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
    """Prepare benchmarks one after the other, and print why one cannot be prepared.

    Args:
        benchmarks: Names of benchmarks; of several that share files, only the first is prepared.
        raw: Folder with official archives, extracted folders or both, at any depth.
        data_root: Folder to write to.
        nproc: Number of processes.
        fetch: Whether to download missing archives that need no login to ``raw``.
        context_annotation: ``'json'`` or ``'mat'``, the source of PASCAL Context's labels.

    Returns:
        Names of the benchmarks that could not be prepared.
    """
    # COCO-Object uses the images of COCO-Stuff164k, which is therefore prepared first.
    wanted = sorted(benchmarks, key='coco_object'.__eq__)
    by_converter = {BENCHMARKS[name].converter or name: name for name in reversed(wanted)}
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
    """Prepare a benchmark."""
    record = BENCHMARKS[benchmark]
    name = record.converter
    if not name:
        raise InputError(
            f'this package cannot prepare it: download it from {record.page}, prepare it as '
            f'docs/datasets.md says, and check it with sclip data check {benchmark}'
        )
    if fetch:
        make_folder(folder, 'name another folder with --raw')
    fetched = set()
    while True:
        try:
            raw = RawData(folder)
            if name == 'pascal_context':
                tasks = pascal_context.plan(raw, data_root, annotation)
            else:
                tasks = CONVERTERS[name].plan(raw, data_root, record.archives)
            break
        except MissingRaw as error:
            archive = error.archive
            if not fetch or not archive.url or archive in fetched:
                raise
            print(f'{archive.name} of {archive.page} (see its terms there)')
            target, digest = folder / archive.name, archive.digest or archive.url_digest
            download(archive.url, target, digest, remedy='name another folder with --raw')
            fetched.add(archive)
    remedy = 'name another folder with --data-root'
    with lock_file(data_root / f'.{name}', remedy) as heartbeat:
        made = run_tasks(tasks, raw.digests, nproc, name, heartbeat)
    images = sum(task.target.suffix != '.txt' for task in tasks) // 2  # the others are labels
    print(f'{benchmark}: {images} images; {made} files made, {len(tasks) - made} were there')
    if difference := record.compare_count(images):
        print(f'  note: {difference}')
