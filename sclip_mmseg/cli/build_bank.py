"""``sclip bank build``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..utils.program import as_program
from .arguments import add_cfg_options, add_processes, positive


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Build a memory bank of unlabelled images, for `sclip segment --bank` and '
        '`sclip evaluate --bank`. The same command resumes a build, or extends the bank with other '
        'images.'
    )
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='image, or folder of images')
    parser.add_argument('--out', type=Path, required=True, metavar='BANK', help='folder to write')
    parser.add_argument('--method', help='method whose features are stored; default: scclip')
    parser.add_argument(
        '--proxy',
        metavar='TOWER',
        help='second tower for the keys of regions: DINO, DINOv2, DINOv3, C-RADIO or PE by name or '
        "path; default: the method's second tower, or a block of CLIP if it has none",
    )
    parser.add_argument(
        '--block',
        type=positive,
        metavar='N',
        help='block of CLIP for the keys, from 1 (default: 8 of 12)',
    )
    parser.add_argument(
        '--regions',
        default='felzenszwalb',
        metavar='GENERATOR|FOLDER',
        help='felzenszwalb, sam2 or sam, or a folder of NAME.npz',
    )
    parser.add_argument('--clip', help='CLIP by name or path; default: ViT-B/16')
    parser.add_argument(
        '--second-clip',
        metavar='CLIP',
        help='a second CLIP whose features are stored, too, for --bank with --cfg-options '
        'model.memory.clip=CLIP',
    )
    add_processes(parser, 'number of processes that divide the images')
    parser.add_argument('--device', help='default: the accelerator if there is one')
    add_cfg_options(parser)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Build the bank, and print its size.

    Raises:
        InputError: If an argument or a file is invalid.
    """
    from ..apis.bank import build_bank

    info = build_bank(
        *(args.images, args.out, args.method, args.clip, args.proxy, args.regions, args.block),
        *(args.processes, args.device, args.cfg_options, args.second_clip),
    )
    print(f'{args.out} holds {info.count} regions of {len(info.images)} images')


def main(argv: Sequence[str] | None = None) -> None:
    """Run, or say in one line what is wrong."""
    args = parse_args(argv)
    with as_program(interrupted='the same command resumes'):
        run(args)
