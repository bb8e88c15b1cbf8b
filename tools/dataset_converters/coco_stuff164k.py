"""COCO-Stuff 164k: val2017, with train ids made of the raw ids."""

from functools import partial
from pathlib import Path
from typing import List

from sclip_mmseg.datasets.preparation import Task, id_table, map_ids, pair_tasks
from sclip_mmseg.datasets.raw import Archive, RawData

from .coco_object import THINGS

IMAGES = Archive(
    'val2017.zip',
    page='https://cocodataset.org/#download',
    url='http://images.cocodataset.org/zips/val2017.zip',
    digest='4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05',
)
MAPS = Archive(
    'stuffthingmaps_trainval2017.zip',
    page='https://github.com/nightrome/cocostuff#downloads',
    url='http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/'
    'stuffthingmaps_trainval2017.zip',
)
#: Raw ids of the 80 things and 91 stuff classes, in the order of their train ids.
CLASSES = (*THINGS, *range(91, 182))


def plan(raw: RawData, out: Path) -> List[Task]:
    """List the files to be made.

    Args:
        raw: The official files.
        out: The data root.

    Raises:
        InputError: If something is missing.
    """
    images = raw.require(r'val2017/(\d+)\.jpg', IMAGES)
    maps = raw.require(r'val2017/(\d+)\.png', MAPS)
    targets = 'images/val2017/{}.jpg', 'annotations/val2017/{}_labelTrainIds.png'
    convert = partial(map_ids, table=id_table(CLASSES))
    return pair_tasks(out / 'coco_stuff164k', images, maps, targets, convert)
