#!/usr/bin/env python
"""Learn the projection of SCLIP's ablation from a few labelled images; all else stays frozen."""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import argparse
from collections.abc import Sequence

from sclip_mmseg.cli.arguments import add_cfg_options
from sclip_mmseg.utils.program import as_program


def main(argv: Sequence[str] | None = None) -> None:
    """Learn a projection and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the benchmark, see configs/ablations')
    parser.add_argument('clip', nargs='?', help="CLIP by name or path; default: the config's")
    parser.add_argument(
        '--out', help="output file; default: the file that the config's LearnedCSA reads"
    )
    parser.add_argument('--images', type=int, default=64, help='number of labelled images to draw')
    parser.add_argument('--epochs', type=int, default=20, help='a window of each image per epoch')
    parser.add_argument('--batch-size', type=int, default=8, help='windows per step')
    parser.add_argument('--lr', type=float, default=1e-4, help='learning rate of AdamW')
    parser.add_argument('--seed', type=int, default=0, help='seed of images, order and windows')
    parser.add_argument(
        '--resume', action='store_true', help='resume after the last complete epoch, if any'
    )
    add_cfg_options(
        parser,
        'override settings of the config; the training split is test_dataloader.dataset with train '
        'in place of val in ann_file and data_prefix, unless they are set here',
    )
    options = vars(parser.parse_intermixed_args(argv))
    with as_program(interrupted='continue with --resume'):
        from sclip_mmseg.projection import train

        print(f'Projection: {train(**options)}')


if __name__ == '__main__':
    main()
