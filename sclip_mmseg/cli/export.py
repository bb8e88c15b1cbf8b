"""Write a segmentor with fixed classes as an ONNX model, which runs without PyTorch."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from ..utils.program import as_program
from .arguments import add_own_classes


def size(text: str) -> tuple[int, int]:
    """Parse height and width, as in ``336x448``."""
    if not re.fullmatch(r'[1-9]\d*x[1-9]\d*', text):
        raise argparse.ArgumentTypeError(f"'{text}' must be HEIGHTxWIDTH, such as 336x448")
    height, width = map(int, text.split('x'))
    return height, width


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_own_classes(parser)
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='e.g. model.onnx')
    parser.add_argument(
        '--size',
        type=size,
        metavar='HxW',
        help='size of resized images, for methods that see whole images: 336x448',
    )
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Build a segmentor and export it.

    Raises:
        InputError: If an argument is invalid, or the model cannot be exported.
    """
    from ..export.network import find_window
    from ..export.onnx_file import OPSET, TOLERANCE, check_out, check_packages, export_onnx

    check_packages()
    check_out(args.out)
    from .. import apis
    from ..apis.own_config import own_config
    from ..zoo import default_method

    system = args.classes, args.background, args.method or default_method(args.clip), args.clip
    find_window(own_config(*system, args.cfg_options).cfg, args.size)
    model = apis.build_segmentor(*system, 'cpu', args.cfg_options, precision='fp32')
    print('exporting, and comparing ONNX Runtime with PyTorch', flush=True)
    export_onnx(model, args.out, args.size)
    print(f'opset {OPSET}; scores agree to {TOLERANCE:g}; written to {args.out.resolve()}')


def main(argv: Sequence[str] | None = None) -> None:
    """Run, or say in one line what is wrong."""
    args = parse_args(argv)
    with as_program():
        run(args)
