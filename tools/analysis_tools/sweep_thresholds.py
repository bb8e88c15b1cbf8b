#!/usr/bin/env python
"""Evaluate many values of logit_scale, prob_thd and area_thd with one pass of the image tower.

All combinations of the given values and the config's own setting are evaluated, with the same
numbers as tools/test.py. To resume an interrupted sweep, repeat the command. The maps of each image
are stored in WORK_DIR/kept, so that more values can be evaluated later without the tower.
"""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import argparse
import os
from collections.abc import Sequence

from sclip_mmseg.cli.arguments import add_cfg_options
from sclip_mmseg.utils.program import as_program

#: Option → name in model.test_cfg.
SWEPT = ('logit_scale', 'prob_thd', 'area_thd', 'background')


def number_or_none(text: str) -> float | None:
    """Parse a number or ``none``."""
    return None if text.lower() == 'none' else float(text)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='as in tools/test.py')
    parser.add_argument('checkpoint', nargs='?', help='as in tools/test.py')
    values = dict(nargs='+', metavar='X')
    parser.add_argument('--logit-scale', type=float, **values, help='factor before the softmax')
    parser.add_argument(
        '--prob-thd', type=float, **values, help='score below which a pixel becomes background'
    )
    parser.add_argument(
        '--area-thd',
        type=number_or_none,
        **values,
        help='share of the foreground that a class must exceed; none for no threshold',
    )
    parser.add_argument(
        '--background', type=float, **values, help='constant score of a background (TCL)'
    )
    parser.add_argument(
        '--work-dir', help='folder for results and maps; default: work_dirs/sweep_CONFIG'
    )
    parser.add_argument(
        '--no-maps',
        dest='keep_maps',
        action='store_false',
        help='store counts, not maps: saves disk space, but more values need another pass',
    )
    add_cfg_options(parser, 'as in tools/test.py')
    parser.add_argument('--download-root', help='folder for downloaded CLIPs')
    args = parser.parse_intermixed_args(argv)
    if not any(getattr(args, name) for name in SWEPT):
        parser.error('give values of --logit-scale, --prob-thd, --area-thd or --background')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Run the sweep."""
    options = vars(parse_args(argv))
    if root := options.pop('download_root'):
        os.environ['SCLIP_DOWNLOAD_ROOT'] = root
    values = {name: options.pop(name) for name in SWEPT}

    with as_program(interrupted='run the same command to resume'):
        from sclip_mmseg.sweep import sweep

        sweep(values=values, **options)


if __name__ == '__main__':
    main()
