"""Segment images and videos into your own classes: overlay, label map, areas."""

import argparse
import os.path as osp
from collections.abc import Sequence
from pathlib import Path

from ..utils.compat import without_training
from ..utils.program import as_program
from .arguments import DictAction, add_bank, add_map_reading, add_own_classes, add_processes


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'images', nargs='+', metavar='IMAGE', help='image, video, or folder of images and videos'
    )
    add_own_classes(parser)
    parser.add_argument(
        '--regions',
        metavar='GENERATOR',
        help='sharpen outlines: felzenszwalb, sam2 or sam divides each image into regions, each of '
        'which gets its most frequent class',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('segmented'),
        help='folder to write to (default: %(default)s)',
    )
    parser.add_argument(
        '--format',
        default='overlay,labels',
        help='output formats, separated by commas: overlay, labels, masks, coco, yolo, cvat, '
        'labelstudio, confidence, geopackage, geojson, fgb; default: %(default)s (and always '
        'areas.csv)',
    )
    parser.add_argument(
        '--format-options',
        metavar='KEY=VALUE',
        nargs='+',
        action=DictAction,
        help='e.g. overlay.legend=below (beside, inside, none) overlay.opacity=0.3 '
        'overlay.names=False coco.per=component coco.polygons=True confidence.threshold=0.4',
    )
    parser.add_argument(
        '--simplify',
        type=float,
        metavar='METRES',
        help='tolerance for smoothing the borders of polygons (geopackage, geojson, fgb), in '
        'metres, or in pixels if the image has no CRS',
    )
    parser.add_argument(
        '--min-area',
        type=float,
        metavar='SQUARE_METRES',
        help='leave smaller polygons out',
    )
    parser.add_argument(
        '--palette',
        help='colours of the classes: distinct (default), dataset (those of a shipped list), voc, '
        'or one per class, as in "#ff8000,#0080ff"',
    )
    parser.add_argument(
        '--size',
        metavar='336|native|0.5',
        help='working size of images: pixels of the short side, native for their own size, or a '
        'factor; default: as published, 336 for most methods',
    )
    add_map_reading(parser)
    parser.add_argument('--device', help='default: the accelerator if there is one')
    parser.add_argument(
        '--precision',
        choices=('fp32', 'fp16', 'bf16'),
        help='precision of the image encoder; default: fp16 if the device is fast at it and the '
        'labels of the method hardly change, else fp32',
    )
    add_processes(parser, 'number of processes, each with its own model; they divide the cores')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='skip files that an earlier run into --out finished with the same settings',
    )
    parser.add_argument(
        '--share',
        metavar='I/N',
        help='segment every N-th file from the I-th, as one of N processes or machines that write '
        'to one --out; set automatically under torchrun',
    )
    add_bank(parser)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Segment the files, and write the results.

    Raises:
        InputError: If an argument or a file is invalid.
    """
    from .. import apis
    from ..apis.shares import share_under_torchrun
    from ..apis.writers.polygons import polygon_options
    from ..utils.errors import InputError
    from ..visualization.drawing import SHOWN

    background = args.background
    if isinstance(background, str) and osp.exists(background):
        raise InputError(f'--background takes words, not {background}: put images before it')

    def report(result: apis.FileResult) -> None:
        shares = [f'{name} {share:.1%}' for name, share in result.areas.items() if share >= SHOWN]
        print(f'{result.path}: {", ".join(shares)}', flush=True)

    share, device = share_under_torchrun()
    options = {**(args.cfg_options or {})}
    if args.palette:
        options['visualizer.palette'] = args.palette
    polygons = dict(simplify=args.simplify, min_area=args.min_area)
    apis.segment_files(
        *(args.images, args.classes, background, args.method, args.out),
        *(args.clip, args.device or device, options, report, args.regions),
        on_progress=lambda text: print(text, flush=True),
        formats=args.format,
        format_options=polygon_options(args.format, polygons) | (args.format_options or {}),
        precision=args.precision,
        processes=args.processes,
        resume=args.resume,
        share=args.share or share,
        size=args.size,
        bands=args.bands,
        stretch=args.stretch,
    )
    print(f'written to {args.out.resolve()}')


def main(argv: Sequence[str] | None = None) -> None:
    """Run, or say in one line what is wrong."""
    with without_training(networks=False):  # parsing options may import mmengine
        args = parse_args(argv)
        from ..utils import files  # noqa: F401  # the first import of mmengine
    with as_program():
        run(args)
