#!/usr/bin/env python
"""Make region maps of a folder of pictures, or of the images of a config's benchmark.

A map is an .npz file with the integer array `instance_mask`, named as its picture. Interrupted at
any moment, run the same command to resume; maps that are there are kept, unless they are damaged.
"""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import argparse
from collections.abc import Sequence
from pathlib import Path

from sclip_mmseg.cli.arguments import DictAction, add_processes
from sclip_mmseg.utils.program import as_program


def main(argv: Sequence[str] | None = None) -> None:
    """Make the maps, or say in one line what is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('input', help='folder of pictures, or config of a benchmark')
    parser.add_argument(
        '--out',
        type=Path,
        help='folder to write to, or a pattern as FOLDER/{folder}/{stem}.npz; default: where the '
        "config's model.region_masks points to",
    )
    parser.add_argument(
        '--generator',
        default='felzenszwalb',
        help='felzenszwalb (default), sam2 or sam; the latter two need: pip install '
        '"sclip_mmseg[regions]"',
    )
    parser.add_argument(
        '--options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='arguments of the generator, e.g. scale=200, or checkpoint=facebook/sam2.1-hiera-tiny',
    )
    about = 'default: a process per CPU, for sam2 and sam one'
    add_processes(parser, about, None, earlier=['--nproc'])
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='as for tools/test.py')
    args = parser.parse_args(argv)
    with as_program(interrupted='run the same command to resume'):
        from sclip_mmseg.apis.region_maps import make_maps_of

        pattern, count, made = make_maps_of(
            *(args.input, args.out, args.generator, args.options, args.processes, args.cfg_options)
        )
        print(f'{pattern}: {made} maps made, {count - made} were there')


if __name__ == '__main__':
    main()
