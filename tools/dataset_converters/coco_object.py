#!/usr/bin/env python
"""Make COCO-Object from COCO-Stuff164k: background and COCO's 80 things."""

import argparse
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.utils import track_parallel_progress
from PIL import Image

# COCO numbers its things 1 to 90 and leaves these numbers out; pixel maps hold the number less 1.
_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
_THINGS = [number - 1 for number in range(1, 91) if number not in _UNUSED]


def to_object_labels(raw: np.ndarray) -> np.ndarray:
    """Map COCO-Stuff's raw ids to COCO-Object's.

    Args:
        raw: uint8 ``[H, W]``; things 0 to 90 with gaps, stuff up to 181, void 255.

    Returns:
        uint8 ``[H, W]``; 0 for stuff and void, 1 to 80 for things.
    """
    table = np.zeros(256, dtype=np.uint8)
    table[_THINGS] = np.arange(1, 81)
    return table[raw]


def convert(source: Path, image_dir: Path, out_image_dir: Path, out_label_dir: Path) -> None:
    """Write the label file of one pixel map and link its image; do nothing where both exist."""
    target = out_label_dir / f'{source.stem}_instanceTrainIds.png'
    if not target.exists():
        part = target.with_suffix('.part')
        Image.fromarray(to_object_labels(np.array(Image.open(source)))).save(part, 'PNG')
        os.replace(part, target)
    image = out_image_dir / f'{source.stem}.jpg'
    if not image.exists():
        try:
            os.link(image_dir / image.name, image)
        except OSError:  # another file system, or one without links
            shutil.copy2(image_dir / image.name, image)


def main() -> None:
    """Convert one split."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('coco_stuff164k', type=Path, help='folder with images/ and annotations/')
    parser.add_argument('out', type=Path, help='folder to make, e.g. data/coco_object')
    parser.add_argument('--split', default='val2017')
    parser.add_argument('--nproc', type=int, default=os.cpu_count())
    args = parser.parse_args()
    source = args.coco_stuff164k / 'annotations' / args.split
    maps = sorted(path for path in source.glob('*.png') if path.stem.isdigit())
    if not maps:
        parser.error(f'{source} holds no pixel map such as 000000000139.png')
    images, labels = (args.out / kind / args.split for kind in ('images', 'annotations'))
    for folder in (images, labels):
        folder.mkdir(parents=True, exist_ok=True)
    image_dir = args.coco_stuff164k / 'images' / args.split
    work = partial(convert, image_dir=image_dir, out_image_dir=images, out_label_dir=labels)
    track_parallel_progress(work, maps, args.nproc)


if __name__ == '__main__':
    main()
