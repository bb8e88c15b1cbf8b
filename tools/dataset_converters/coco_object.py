#!/usr/bin/env python
"""Make COCO-Object from COCO-Stuff164k: background and COCO's 80 things."""

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import Dict, List

import numpy as np

from sclip_mmseg.datasets.preparation import Task, id_table, map_ids, pair_tasks, run_tasks
from sclip_mmseg.datasets.raw import Entry, FileEntry, RawData
from sclip_mmseg.errors import InputError

# COCO numbers its things 1 to 90 and leaves these numbers out; pixel maps hold the number less 1.
_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
#: Ids of COCO's 80 things in COCO-Stuff's pixel maps.
THINGS = tuple(number - 1 for number in range(1, 91) if number not in _UNUSED)
# 0 for stuff and void, 1 to 80 for things.
_OBJECT_IDS = id_table(THINGS, first=1, other=0)


def to_object_labels(raw: np.ndarray) -> np.ndarray:
    """Map COCO-Stuff's raw ids to COCO-Object's.

    Args:
        raw: uint8 ``[H, W]``; things 0 to 90 with gaps, stuff up to 181, void 255.

    Returns:
        uint8 ``[H, W]``; 0 for stuff and void, 1 to 80 for things.
    """
    return _OBJECT_IDS[raw]


def tasks_of(
    images: Dict[str, Entry], maps: Dict[str, Entry], root: Path, split: str
) -> List[Task]:
    """List the files to be made below ``root``, of images and COCO-Stuff's pixel maps by name."""
    targets = f'images/{split}/{{}}.jpg', f'annotations/{split}/{{}}_instanceTrainIds.png'
    return pair_tasks(root, images, maps, targets, partial(map_ids, table=_OBJECT_IDS))


def plan(raw: RawData, out: Path) -> List[Task]:
    """List the files to be made.

    Args:
        raw: The official files, which are those of COCO-Stuff164k.
        out: The data root, whose COCO-Stuff164k lends its images.

    Raises:
        InputError: If something is missing.
    """
    from .coco_stuff164k import IMAGES, MAPS

    maps = raw.require(r'val2017/(\d+)\.png', MAPS)
    stuff = out / 'coco_stuff164k/images/val2017'
    images = {path.stem: FileEntry(path) for path in stuff.glob('*.jpg')}
    if not images.keys() >= maps.keys():
        images = raw.require(r'val2017/(\d+)\.jpg', IMAGES)
    return tasks_of(images, maps, out / 'coco_object', 'val2017')


def main() -> None:
    """Convert one split."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('coco_stuff164k', type=Path, help='folder with images/ and annotations/')
    parser.add_argument('out', type=Path, help='folder to make, e.g. data/coco_object')
    parser.add_argument('--split', default='val2017')
    parser.add_argument('--nproc', type=int, default=os.cpu_count())
    args = parser.parse_args()
    folders = (args.coco_stuff164k / kind / args.split for kind in ('images', 'annotations'))
    images, maps = (
        {path.stem: FileEntry(path) for path in sorted(folder.iterdir()) if path.stem.isdigit()}
        if folder.is_dir()
        else {}
        for folder in folders
    )
    if not maps:
        folder = args.coco_stuff164k / 'annotations' / args.split
        parser.error(f'{folder} holds no pixel map such as 000000000139.png')
    try:
        run_tasks(tasks_of(images, maps, args.out, args.split), {}, args.nproc, 'coco_object')
    except InputError as error:
        sys.exit(f'Error: {error}')


if __name__ == '__main__':
    main()
