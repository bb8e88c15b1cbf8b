#!/usr/bin/env python
"""Draw docs/images/coffee.jpg, the README's picture: a photograph, and its classes beside it."""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import argparse
from pathlib import Path

import cv2
from mmengine.config import DictAction
from PIL import Image

from sclip_mmseg import apis
from sclip_mmseg.utils.program import as_program
from sclip_mmseg.visualization import beside

ROOT = Path(__file__).resolve().parents[2]
PHOTOGRAPH = ROOT / 'demo/coffee.jpg'
CLASSES = 'table; cup; spoon'
WIDTH = 492  # of each half


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--clip', help='CLIP by name or path; default: ViT-B/16')
    parser.add_argument('--out', type=Path, default=ROOT / 'docs/images/coffee.jpg')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args()


def main() -> None:
    """Segment and draw."""
    args = parse_args()
    model = apis.build_segmentor(
        apis.parse_classes(CLASSES),
        clip=args.clip,
        cfg_options=args.cfg_options,
        regions='felzenszwalb',
    )
    image = cv2.cvtColor(apis.read_picture(PHOTOGRAPH), cv2.COLOR_BGR2RGB)
    result = apis.segment(model, PHOTOGRAPH)
    size = WIDTH, round(WIDTH * image.shape[0] / image.shape[1])
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    labels = cv2.resize(result.labels.astype('uint8'), size, interpolation=cv2.INTER_NEAREST)
    drawn = apis.draw_classes(image, labels, result.class_names, result.palette)
    Image.fromarray(beside([image, drawn])).save(args.out, quality=92, subsampling=0)
    print({name: f'{share:.1%}' for name, share in result.areas.items()}, args.out)


if __name__ == '__main__':
    with as_program():
        main()
