"""Compare saved results: intervals, what may be claimed of a difference, and a report.

Nothing is evaluated again: a result contains the confusion matrix of each image.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..utils.program import as_program


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'results',
        nargs='+',
        type=Path,
        metavar='RESULT',
        help='result.npz or work directory of an evaluation (sclip test, evaluate, benchmark), or '
        'a folder of several; those with the same images and classes are compared',
    )
    parser.add_argument(
        '--out',
        type=Path,
        metavar='DIR',
        help='folder for report.html, tables, figures and contact sheets; default: only print',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run, or say in one line what is wrong."""
    args = parse_args(argv)
    with as_program():
        from ..evaluation.compare import compare

        print('\n'.join(compare(args.results, args.out)).rstrip())
