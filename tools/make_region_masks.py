#!/usr/bin/env python
"""Generate region maps for a folder of images, or for the images of a config's benchmark.

A map is an .npz file with the integer array `instance_mask`, named after its image. To resume an
interrupted run, repeat the command; existing maps are kept unless they are damaged.
"""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import argparse
from collections.abc import Sequence
from pathlib import Path

from sclip_mmseg.cli.arguments import DictAction, add_cfg_options, add_processes
from sclip_mmseg.utils.program import as_program


def main(argv: Sequence[str] | None = None) -> None:
    """Generate the maps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('input', help='folder of images, or config of a benchmark')
    parser.add_argument(
        '--out',
        type=Path,
        help='output folder, or a pattern such as FOLDER/{folder}/{stem}.npz; default: the pattern '
        "in the config's model.region_masks",
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
    about = 'default: one per CPU, for sam2 and sam a single one'
    add_processes(parser, about, None, earlier=['--nproc'])
    add_cfg_options(parser, 'as in tools/test.py')
    args = parser.parse_args(argv)
    with as_program(interrupted='run the same command to resume'):
        from sclip_mmseg.apis.region_maps import make_maps_of

        pattern, count, made = make_maps_of(
            *(args.input, args.out, args.generator, args.options, args.processes, args.cfg_options)
        )
        print(f'{pattern}: {made} maps made, {count - made} existed')


if __name__ == '__main__':
    main()
