"""``sclip bank build``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..utils.program import as_program
from .arguments import DictAction, add_processes, positive


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Build a memory bank of unlabelled pictures, for `sclip segment --bank` and '
        '`sclip evaluate --bank`. The same command resumes, and with other pictures extends it.'
    )
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='picture, or folder of them')
    parser.add_argument('--out', type=Path, required=True, metavar='BANK', help='folder to write')
    parser.add_argument('--method', help='whose features it holds; default: scclip')
    parser.add_argument(
        '--proxy',
        metavar='TOWER',
        help='second tower that regions are looked up by: DINO, DINOv2, DINOv3, C-RADIO or PE by '
        "name or path; default: the method's own, else a block of CLIP",
    )
    parser.add_argument(
        '--block', type=positive, metavar='N', help='that block of CLIP, from 1 (default: 8 of 12)'
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
        help='a second CLIP whose features it holds, too, for --bank with --cfg-options '
        'model.memory.clip=CLIP',
    )
    add_processes(parser, 'processes that share the pictures')
    parser.add_argument('--device', help='default: the accelerator where there is one')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Build and say what there is.

    Raises:
        InputError: If an argument or a file cannot be used.
    """
    from ..apis.bank import build_bank

    info = build_bank(
        *(args.images, args.out, args.method, args.clip, args.proxy, args.regions, args.block),
        *(args.processes, args.device, args.cfg_options, args.second_clip),
    )
    print(f'{args.out} holds {info.count} regions of {len(info.images)} pictures')


def main(argv: Sequence[str] | None = None) -> None:
    """Run, or say in one line what is wrong."""
    args = parse_args(argv)
    with as_program(interrupted='the same command resumes'):
        run(args)
