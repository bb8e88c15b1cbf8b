"""``sclip data check``."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..datasets.benchmarks import BENCHMARKS
from .arguments import positive


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description="Check a benchmark's files: counts, missing and unreadable pairs, sizes, label "
        'ids, classes.'
    )
    parser.add_argument('benchmark', nargs='+', choices=[*sorted(BENCHMARKS), 'all'])
    parser.add_argument(
        '--data-root',
        help='folder to check (default: SCLIP_DATA_ROOT, else data/ of the clone or, without one, '
        'of the current folder)',
    )
    parser.add_argument('--out', type=Path, help='folder for a contact sheet of overlays')
    parser.add_argument(
        '--limit', type=positive, help='check this many images, spread over the split'
    )
    parser.add_argument(
        '--partial', action='store_true', help='accept another number of images than published'
    )
    parser.add_argument('--nproc', type=positive, default=4)
    parser.add_argument(
        '--classes', action='store_true', help='print the number and share of pixels of each class'
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Check all that is asked for; exit with 1 if anything is wrong."""
    options = vars(parse_args(argv))
    if root := options.pop('data_root'):
        os.environ['SCLIP_DATA_ROOT'] = root  # which the configs read
    names = options.pop('benchmark')
    names = sorted(BENCHMARKS) if 'all' in names else names
    from ..utils.program import as_program

    with as_program():
        from ..datasets.preparation.check import check

        fine = [
            check(name, **options) for name in (sorted(BENCHMARKS) if 'all' in names else names)
        ]
        sys.exit(not all(fine))
