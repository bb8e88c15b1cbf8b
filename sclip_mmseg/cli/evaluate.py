"""Evaluate methods on your own labelled images: tables, contact sheets and a report."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..utils.program import as_program
from .arguments import (
    add_bank,
    add_cfg_options,
    add_own_images,
    add_processes,
    own_images,
    words,
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_own_images(parser)
    parser.add_argument(
        '--classes',
        help='classes separated by semicolons, synonyms by commas, preceded by their ids in label '
        'files unless these are 0, 1, 2: "7: road, street; 8: car"; or a file with one class per '
        'line; or a shipped list, e.g. ade20k; default: all of a COCO file or of --colors',
    )
    parser.add_argument(
        '--method',
        type=words,
        default=[],
        metavar='NAME,...',
        help='methods separated by commas, see sclip methods; my_package.module:MyMethod for your '
        'own method, or the path of a config; default: scclip, or sclip with the toy CLIP',
    )
    parser.add_argument(
        '--regions',
        metavar='GENERATOR',
        help='felzenszwalb, sam2 or sam: divide each image into regions, each of which gets its '
        'most frequent class',
    )
    parser.add_argument(
        '--clip',
        help='CLIP by name (ViT-B/16, hf:ORG/NAME, ...) or path, or the checkpoint of a trained '
        "system; default: ViT-B/16, or the system's published one",
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('evaluated'),
        help='folder to write to (default: evaluated)',
    )
    add_processes(parser, 'number of processes that divide the images, each on its own GPU')
    parser.add_argument(
        '--print-config',
        action='store_true',
        help='only print the config of the method, for sclip test',
    )
    parser.add_argument('--boundary-iou', action='store_true', help='Boundary IoU as well (mBIoU)')
    parser.add_argument(
        '--oracles',
        action='store_true',
        help='also the scores if the classes of each image, or outlines, were known',
    )
    add_bank(parser)
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.print_config and len(args.method) > 1:
        parser.error('--print-config prints one config: name one --method')
    return args


def run(args: argparse.Namespace) -> None:
    """Evaluate the methods, and write the results.

    Raises:
        InputError: If an argument or a file is invalid.
    """
    from ..benchmark.own_images import evaluate_methods, make_config
    from ..zoo import default_method

    data = own_images(args)
    options = dict(
        background=args.background or False,
        clip=args.clip,
        regions=args.regions,
        cfg_options=args.cfg_options,
    )
    if args.print_config:
        [method] = args.method or [default_method(args.clip)]
        print(make_config(data, args.classes, method, **options).pretty_text)
        return
    evaluate_methods(
        *(data, args.classes, args.method),
        **options,
        out=args.out,
        processes=args.processes,
        boundary_iou=args.boundary_iou,
        oracles=args.oracles,
        on_progress=lambda text: print(text, flush=True),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run, or say in one line what is wrong."""
    args = parse_args(argv)
    with as_program(interrupted='the same command resumes'):
        run(args)
