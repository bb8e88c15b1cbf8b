#!/usr/bin/env python
"""Lay benchmarks out as the configs read them, from the official archives or extracted folders."""

if __name__ == '__main__':  # before all imports, which take seconds
    import sclip_cli

    sclip_cli.end_at_once_if_interrupted()

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
NAMES = sorted({path.stem for path in CONFIGS.glob('_base_/datasets/*.py')} - {'benchmark'})


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('benchmark', nargs='+', choices=[*NAMES, 'all'])
    parser.add_argument(
        '--raw',
        type=Path,
        help='folder with official archives, extracted folders or both, at any depth; it is only '
        'read (default: raw/ of the data root)',
    )
    parser.add_argument(
        '--data-root',
        type=Path,
        help='folder to write to (default: SCLIP_DATA_ROOT, else data/ of the clone or, without '
        'one, of the current folder)',
    )
    parser.add_argument(
        '--download',
        action='store_true',
        help='fetch to RAW what is missing there and can be had without logging in; you accept '
        "the data's terms",
    )
    parser.add_argument(
        '--context-annotation',
        choices=['json', 'mat'],
        help='make PASCAL Context of trainval_merged.json (5104 images) or of the MATLAB files '
        '(5105); default: JSON, unless only MATLAB files are there',
    )
    parser.add_argument('--nproc', type=int, default=os.cpu_count())
    args = parser.parse_args(argv)
    if args.nproc < 1:
        parser.error(f'--nproc {args.nproc} must be positive')
    if args.data_root is None:
        from sclip_mmseg.utils.shipped import data_dir

        args.data_root = data_dir()
    args.raw = args.raw or args.data_root / 'raw'
    return args


def prepare(benchmark: str, args: argparse.Namespace) -> None:
    """Make one benchmark's files.

    Raises:
        InputError: If raw files are missing or damaged.
    """
    from sclip_mmseg.datasets.benchmarks import BENCHMARKS
    from sclip_mmseg.datasets.preparation.counts import compare_count
    from sclip_mmseg.datasets.preparation.raw import MissingRaw, RawData
    from sclip_mmseg.datasets.preparation.tasks import run_tasks
    from sclip_mmseg.utils.files import lock_file, make_folder

    name = BENCHMARKS[benchmark].converter
    plan = importlib.import_module(f'dataset_converters.{name}').plan
    if name == 'pascal_context':
        plan = partial(plan, annotation=args.context_annotation)
    if args.download:
        make_folder(args.raw, 'name another folder with --raw')
    fetched = set()
    while True:
        try:
            raw = RawData(args.raw)
            tasks = plan(raw, args.data_root)
            break
        except MissingRaw as error:
            if not args.download or not error.archive.url or error.archive in fetched:
                raise
            fetch(error.archive, args.raw)
            fetched.add(error.archive)
    remedy = 'name another folder with --data-root'
    with lock_file(args.data_root / f'.{name}', remedy) as show_life:
        made = run_tasks(tasks, raw.digests, args.nproc, name, show_life)
    images = sum(task.target.suffix != '.txt' for task in tasks) // 2  # the others are labels
    print(f'{benchmark}: {images} images; {made} files made, {len(tasks) - made} were there')
    if difference := compare_count(benchmark, images):
        print(f'  note: {difference}')


def fetch(archive, folder: Path) -> None:
    """Download an archive; a broken transfer is continued, by a later run too."""
    from sclip_mmseg.utils.download import download

    print(f'{archive.name} of {archive.page} (see its terms there)')
    download(
        archive.url,
        folder / archive.name,
        archive.digest or archive.url_digest,
        remedy='name another folder with --raw',
    )


def run(args: argparse.Namespace) -> None:
    """Prepare one benchmark after the other; of those that fail, say why, and go on."""
    from sclip_mmseg import InputError
    from sclip_mmseg.datasets.benchmarks import BENCHMARKS
    from sclip_mmseg.datasets.preparation.archives import close_archives

    # COCO-Stuff164k lends COCO-Object its images.
    wanted = sorted(args.benchmark, key='coco_object'.__eq__)
    if 'all' in args.benchmark:
        wanted = sorted(BENCHMARKS, key='coco_object'.__eq__)
    by_converter = {BENCHMARKS[benchmark].converter: benchmark for benchmark in reversed(wanted)}
    failed = []
    for benchmark in reversed(by_converter.values()):
        try:
            prepare(benchmark, args)
        except InputError as error:
            failed.append(benchmark)
            print(f'{benchmark}: {error}')
        finally:
            close_archives()
    if failed:
        sys.exit(f'not prepared: {", ".join(failed)}')


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare all that is asked for; exit with 1 if anything is missing."""
    args = parse_args(argv)
    from sclip_mmseg.utils.program import as_program

    with as_program(interrupted='the same command goes on'):
        run(args)


if __name__ == '__main__':
    main()
