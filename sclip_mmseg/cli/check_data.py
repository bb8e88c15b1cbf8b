"""``sclip data check``."""

import argparse
import os
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from ..datasets.benchmarks import BENCHMARKS, usual_benchmarks
from ..utils.program import as_program
from .arguments import add_own_images, add_processes, check_benchmarks, own_images, positive


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    groups = groupby(BENCHMARKS.values(), lambda record: record.group or 'all')
    names = (f'{group}: {", ".join(record.name for record in each)}' for group, each in groups)
    parser = argparse.ArgumentParser(
        description='Check the files of a benchmark, a config, or your own folders: counts, '
        'missing and unreadable pairs, sizes, label ids, classes.'
    )
    parser.add_argument(
        'benchmark',
        nargs='*',
        metavar='NAME|CONFIG',
        help=f'{"; ".join(names)}; or your own config (*.py)',
    )
    add_own_images(parser, required=False)
    parser.add_argument(
        '--data-root',
        help='folder to check (default: SCLIP_DATA_ROOT, else data/ of the clone or, without one, '
        'of the current folder)',
    )
    parser.add_argument('--out', type=Path, help='folder for a contact sheet of overlays')
    parser.add_argument(
        '--limit', type=positive, help='check only so many images, spread over the split'
    )
    parser.add_argument(
        '--partial', action='store_true', help='accept another number of images than published'
    )
    about = 'number of processes'
    add_processes(parser, about, 4, earlier=['--nproc'])
    parser.add_argument(
        '--classes',
        nargs='?',
        const=True,
        default=False,
        help='print the number and share of pixels of each class; with --images, takes the classes '
        'as sclip evaluate does',
    )
    args = parser.parse_args(argv)
    if args.images is None and isinstance(args.classes, str):  # --classes followed by a name
        args.benchmark, args.classes = [args.classes, *args.benchmark], True
    for name in args.benchmark:
        if name not in BENCHMARKS and os.path.isdir(name):
            parser.error(f"'{name}' is a folder: name your own by --images and --labels")
    check_benchmarks(parser, [name for name in args.benchmark if not name.endswith('.py')])
    if (args.images is None) != bool(args.benchmark):
        parser.error('name benchmarks or configs, or folders by --images and --labels')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Run the checks; exit with 1 if one fails."""
    args = parse_args(argv)
    if args.data_root:
        os.environ['SCLIP_DATA_ROOT'] = args.data_root  # read by the configs
    options = {key: getattr(args, key) for key in ('out', 'limit', 'partial')}
    options['nproc'] = args.processes
    with as_program():
        from ..datasets.preparation.check import check

        if args.images is not None:
            cfg = own_images(args).dataset()
            if isinstance(args.classes, str):
                cfg['classes'] = args.classes
            cfg['background'] = bool(args.background)
            sys.exit(not check(args.images.resolve().name, cfg, classes=True, **options))
        names = sorted(usual_benchmarks()) if 'all' in args.benchmark else args.benchmark
        fine = [check(name, classes=args.classes, **options) for name in names]
        sys.exit(not all(fine))
