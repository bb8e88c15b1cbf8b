"""``sclip data prepare``."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..datasets.benchmarks import usual_benchmarks
from ..utils.program import as_program
from ..utils.shipped import data_dir
from .arguments import add_processes, check_benchmarks


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Prepare benchmarks in the layout that the configs read, from the official '
        'archives or extracted folders.'
    )
    parser.add_argument(
        'benchmark',
        nargs='+',
        metavar='NAME',
        help=f'{", ".join(usual_benchmarks())}, or all',
    )
    parser.add_argument(
        '--raw',
        type=Path,
        help='folder with official archives, extracted folders or both, at any depth; it is only '
        'read (default: raw/ of the data root)',
    )
    parser.add_argument(
        '--data-root',
        type=Path,
        default=data_dir(),
        help='folder to write to (default: SCLIP_DATA_ROOT, else data/ of the clone or, without '
        'one, of the current folder)',
    )
    parser.add_argument(
        '--download',
        action='store_true',
        help='download missing files to RAW if no login is needed; you accept the terms of the '
        'data',
    )
    parser.add_argument(
        '--context-annotation',
        choices=['json', 'mat'],
        help='make PASCAL Context from trainval_merged.json (5104 images) or from the MATLAB files '
        '(5105); default: JSON, unless there are only MATLAB files',
    )
    about = 'number of processes'
    add_processes(parser, about, os.cpu_count(), earlier=['--nproc'])
    args = parser.parse_args(argv)
    check_benchmarks(parser, args.benchmark)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare the benchmarks; exit with 1 if anything is missing."""
    args = parse_args(argv)
    with as_program(interrupted='run the same command to resume'):
        from ..datasets.preparation.prepare import prepare

        failed = prepare(
            usual_benchmarks() if 'all' in args.benchmark else args.benchmark,
            args.raw or args.data_root / 'raw',
            args.data_root,
            args.processes,
            args.download,
            args.context_annotation,
        )
        if failed:
            sys.exit(f'not prepared: {", ".join(failed)}')
