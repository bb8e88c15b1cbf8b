"""Segment pictures and videos into classes of your own: overlay, label map, areas."""

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
        'images', nargs='+', metavar='IMAGE', help='picture, video, or folder of them'
    )
    add_own_classes(parser)
    parser.add_argument(
        '--regions',
        metavar='GENERATOR',
        help='sharpen the outlines: felzenszwalb, sam2 or sam cuts each picture into regions, each '
        'of which gets its most frequent class',
    )
    parser.add_argument('--out', type=Path, default=Path('segmented'), help='folder to write to')
    parser.add_argument(
        '--format',
        default='overlay,labels',
        help='what to write, separated by commas: overlay, labels, masks, coco, yolo, cvat, '
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
        help='smooth the borders of polygons (of geopackage, geojson, fgb) within so many metres, '
        'or pixels where a picture has no CRS',
    )
    parser.add_argument(
        '--min-area',
        type=float,
        metavar='SQUARE_METRES',
        help='leave smaller polygons out',
    )
    parser.add_argument(
        '--palette',
        help='colours of the classes: distinct (default), dataset (of a shipped list), voc, or one '
        'per class, as in "#ff8000,#0080ff"',
    )
    parser.add_argument(
        '--size',
        metavar='336|native|0.5',
        help='working size of pictures: pixels of the short side, native for their '
        'own, or a factor; default: as published, 336 for most methods',
    )
    add_map_reading(parser)
    parser.add_argument('--device', help='default: the accelerator where there is one')
    parser.add_argument(
        '--precision',
        choices=('fp32', 'fp16', 'bf16'),
        help='of the image encoder; default: fp16 where the device is fast at it and the method '
        'gives the same labels but for few pixels, else fp32',
    )
    add_processes(
        parser, 'segment in N processes, each with a model of its own; the cores are divided'
    )
    parser.add_argument(
        '--resume',
        action='store_true',
        help='leave out what an earlier run into --out did with the same settings',
    )
    parser.add_argument(
        '--share',
        metavar='I/N',
        help='segment every N-th file, from the I-th, as one of N processes or machines that write '
        'to one --out; known by itself under torchrun',
    )
    add_bank(parser)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Segment and write.

    Raises:
        InputError: If an argument or a file cannot be used.
    """
    from .. import apis
    from ..apis.shares import place_in_torchrun
    from ..apis.writers.polygons import polygon_options
    from ..utils.errors import InputError
    from ..visualization.drawing import SHOWN

    background = args.background
    if isinstance(background, str) and osp.exists(background):
        raise InputError(f'--background takes words, not {background}: put pictures first')

    def report(result: apis.FileResult) -> None:
        shares = [f'{name} {share:.1%}' for name, share in result.areas.items() if share >= SHOWN]
        print(f'{result.path}: {", ".join(shares)}', flush=True)

    share, device = place_in_torchrun()
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
    with without_training(networks=False):  # options, too, may import mmengine
        args = parse_args(argv)
        from ..utils import files  # noqa: F401  # the first that imports it
    with as_program():
        run(args)
