"""Make COCO-Object from COCO-Stuff164k: background and COCO's 80 things."""

from functools import partial
from pathlib import Path

from .. import coco
from ..archives import Entry, FileEntry
from ..labels import id_table, map_file
from ..raw import RawData
from ..splits import pair_tasks
from ..tasks import Task

# 0 for stuff and void, 1 to 80 for things.
_OBJECT_IDS = id_table(coco.THINGS, first=1, other=0, others=[*coco.STUFF, coco.VOID])


def plan(raw: RawData, out: Path) -> list[Task]:
    """List the files to be made.

    Args:
        raw: The official files, which are those of COCO-Stuff164k.
        out: The data root, whose COCO-Stuff164k lends its images.

    Raises:
        InputError: If something is missing.
    """
    maps = raw.require(r'val2017/(\d+)\.png', coco.MAPS)
    stuff = out / 'coco_stuff164k/images/val2017'
    images: dict[str, Entry] = {path.stem: FileEntry(path) for path in stuff.glob('*.jpg')}
    if not images.keys() >= maps.keys():
        images = raw.require(r'val2017/(\d+)\.jpg', coco.IMAGES)
    targets = 'images/val2017/{}.jpg', 'annotations/val2017/{}_instanceTrainIds.png'
    convert = partial(map_file, table=_OBJECT_IDS)
    return pair_tasks(out / 'coco_object', images, maps, targets, convert)
