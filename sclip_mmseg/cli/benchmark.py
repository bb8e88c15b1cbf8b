"""Evaluate methods on benchmarks and compare them with the published numbers.

Each pair is evaluated as by sclip test, in its own folder. After an interruption, the same command
resumes; finished pairs are not run again.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ..utils.program import as_program
from .arguments import add_processes, positive, words


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--methods',
        type=words,
        help='names of configs up to the backbone, or my_package.module:MyMethod for your own '
        "methods, separated by commas; default: those of the papers' tables (with --toy, all)",
    )
    parser.add_argument(
        '--configs', nargs='+', default=[], metavar='FILE', help='your own configs, as further rows'
    )
    parser.add_argument(
        '--names',
        type=words,
        default=['official'],
        help='name lists separated by commas: official (default), plain, which has only the names '
        'of classes, or both',
    )
    parser.add_argument(
        '--protocol',
        type=words,
        default=['own'],
        dest='protocols',
        metavar='PROTOCOL',
        help="own (default), that of each method's config; or one, the same for all methods, of "
        'configs/_base_/protocols/one_*.py; or both, separated by a comma',
    )
    parser.add_argument(
        '--benchmarks', type=words, help='separated by commas; default: those of the papers'
    )
    parser.add_argument('--backbone', default='vit-b16', help='vit-b16 (default) or vit-l14')
    parser.add_argument(
        '--toy',
        action='store_const',
        const='toy',
        dest='backbone',
        help='the small CLIP and the drawn images of data/toy',
    )
    parser.add_argument('--checkpoint', help="CLIP by name or path instead of the backbone's own")
    add_processes(
        parser,
        'number of processes that divide the images of a pair, each on its own GPU',
        earlier=('--nproc-per-node', '--nproc_per_node'),
    )
    parser.add_argument(
        '--limit', type=positive, metavar='N', help='only the first N images of each benchmark'
    )
    parser.add_argument('--boundary-iou', action='store_true', help='Boundary IoU as well (mBIoU)')
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='default: work_dirs/benchmark, with backbone and limit in its name if given',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        help="as for sclip test; '{benchmark}' in a value becomes the benchmark's name",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run all pairs; exit with 1 if one failed."""
    options = vars(parse_args(argv))
    # Raise SystemExit, so that child processes end with this one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    with as_program(interrupted='run the same command to resume'):
        from ..benchmark.suite import run_suite

        pairs = run_suite(**options)
        sys.exit(any(pair.status == 'failed' for pair in pairs))
