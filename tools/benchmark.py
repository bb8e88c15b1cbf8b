#!/usr/bin/env python
"""Evaluate methods on benchmarks and compare with the published numbers.

Each pair is evaluated as by tools/test.py, in a folder of its own. Interrupted at any moment, the
same command resumes; pairs that are finished are not run again.
"""

if __name__ == '__main__':  # before all imports, which take seconds
    import sclip_cli

    sclip_cli.end_at_once_if_interrupted()

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words = lambda text: text.split(',')  # noqa: E731
    parser.add_argument(
        '--methods',
        type=words,
        help='names of configs up to the backbone, separated by commas; default: those of the '
        "papers' tables (with --toy, all there are)",
    )
    parser.add_argument(
        '--benchmarks', type=words, help='separated by commas; default: all there are'
    )
    parser.add_argument('--backbone', default='vit-b16', help='vit-b16 (default) or vit-l14')
    parser.add_argument(
        '--toy',
        action='store_const',
        const='toy',
        dest='backbone',
        help='the small CLIP and the drawn pictures of data/toy',
    )
    parser.add_argument('--checkpoint', help="CLIP by name or path instead of the backbone's own")
    parser.add_argument(
        *('--nproc-per-node', '--nproc_per_node'),
        type=int,
        default=1,
        metavar='N',
        help='processes that share the images of a pair, each on a GPU of its own (default: 1)',
    )
    parser.add_argument('--limit', type=int, metavar='N', help='only the first N images of each')
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='default: work_dirs/benchmark, with backbone and limit in its name where given',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        help="as for tools/test.py; '{benchmark}' in a value becomes the benchmark's name",
    )
    args = parser.parse_args(argv)
    for name in ('limit', 'nproc_per_node'):
        if (value := getattr(args, name)) is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} {value} must be positive')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Run all pairs; exit with 1 if one failed."""
    options = vars(parse_args(argv))
    processes = options.pop('nproc_per_node')
    # So that what this process starts ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    from sclip_mmseg.utils.program import as_program

    with as_program(interrupted='the same command goes on'):
        from sclip_mmseg.benchmark.suite import run_suite

        pairs = run_suite(processes=processes, **options)
        sys.exit(any(pair.status == 'failed' for pair in pairs))


if __name__ == '__main__':
    main()
