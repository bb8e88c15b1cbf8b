#!/usr/bin/env python
"""Draw what selected pixels attend to in CLIP's last block, one column per method."""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import argparse
from collections.abc import Sequence

from sclip_mmseg.cli.arguments import add_cfg_options
from sclip_mmseg.utils.program import as_program


def main(argv: Sequence[str] | None = None) -> None:
    """Compute each config's maps and draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('image', help='image file')
    parser.add_argument(
        '--points', nargs='+', required=True, metavar='X,Y', help='pixels of the image, from 0,0'
    )
    parser.add_argument(
        '--configs',
        nargs='+',
        default=[],
        help='config of each column; default: clip, maskclip, sclip, clearclip, naclip and '
        'resclip-naclip of VOC20',
    )
    parser.add_argument(
        '--clip', help="CLIP by name or path; default: that of each config's image encoder"
    )
    parser.add_argument(
        '--out', default='attention_maps.png', help='output file; default: attention_maps.png'
    )
    parser.add_argument('--width', type=int, default=1000, help='width of the figure in pixels')
    parser.add_argument(
        '--short-side',
        type=int,
        default=336,
        help='short side to which the image is resized for CLIP, which sees it as a whole',
    )
    add_cfg_options(parser, 'override settings of all configs')
    options = vars(parser.parse_args(argv))
    with as_program():
        from sclip_mmseg.visualization.attention import draw_attention

        print(f'Figure: {draw_attention(**options)}')


if __name__ == '__main__':
    main()
