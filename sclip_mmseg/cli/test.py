"""Evaluate a config on its benchmark; the flags are those of MMSegmentation's ``tools/test.py``."""

import argparse
import os
from collections.abc import Sequence

from ..utils.program import as_program
from .arguments import add_cfg_options


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Evaluate a config on its benchmark.')
    parser.add_argument(
        'config', help='config file, or a shipped one as sclip_mmseg::sclip/NAME.py'
    )
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='CLIP by name (ViT-B/16, hf:ORG/NAME, ...) or path; for GroupViT, TCL and SAM 3 their '
        "checkpoint, for Talk2DINO the CLIP that encodes texts; default: the config's (also as the "
        'word none)',
    )
    parser.add_argument('--work-dir', help='folder for logs and results')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='resume an interrupted run in the same work directory',
    )
    parser.add_argument('--out', help='folder for the predicted label maps')
    parser.add_argument(
        '--out-ids',
        choices=['labels', 'classes'],
        help='ids in these maps: those of the label files (default), or class indices, which are '
        'one less if the dataset has reduce_zero_label',
    )
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', help='folder for overlays')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds per image in --show')
    add_cfg_options(
        parser,
        'override settings of the config; a list as key="[a,b]" or key=a,b, nested ones as '
        'key="[(a,b),(c,d)]"',
    )
    parser.add_argument('--download-root', help='folder for downloaded CLIPs')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    parser.add_argument('--boundary-iou', action='store_true', help='Boundary IoU as well (mBIoU)')
    parser.add_argument(
        '--oracles',
        action='store_true',
        help='also the scores if the classes of each image, or outlines, were known',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser.parse_intermixed_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the evaluation, or say in one line what is wrong."""
    options = vars(parse_args(argv))
    os.environ.setdefault('LOCAL_RANK', str(options.pop('local_rank')))
    if root := options.pop('download_root'):
        os.environ['SCLIP_DOWNLOAD_ROOT'] = root

    with as_program():
        from ..evaluation import evaluate

        evaluate(**options)
