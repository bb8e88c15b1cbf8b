"""COCO-Stuff 164k: val2017, with train ids made of the raw ids."""

from functools import partial
from pathlib import Path

from .. import coco
from ..labels import id_table, map_file
from ..raw import RawData
from ..splits import pair_tasks
from ..tasks import Task

_TRAIN_IDS = id_table(coco.CLASSES, others=[coco.VOID])


def plan(raw: RawData, out: Path) -> list[Task]:
    """List the files to be made.

    Args:
        raw: The official files.
        out: The data root.

    Raises:
        InputError: If something is missing.
    """
    images = raw.require(r'val2017/(\d+)\.jpg', coco.IMAGES)
    maps = raw.require(r'val2017/(\d+)\.png', coco.MAPS)
    targets = 'images/val2017/{}.jpg', 'annotations/val2017/{}_labelTrainIds.png'
    convert = partial(map_file, table=_TRAIN_IDS)
    return pair_tasks(out / 'coco_stuff164k', images, maps, targets, convert)
