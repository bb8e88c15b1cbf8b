"""Cityscapes: the validation split, with train ids made of the raw ids."""

from functools import partial
from pathlib import Path

from ...benchmarks import BENCHMARKS
from ..labels import id_table, map_file
from ..raw import RawData
from ..splits import pair_tasks
from ..tasks import Task

IMAGES, LABELS = BENCHMARKS['cityscapes'].archives
# Raw ids of the 19 classes that are evaluated, in the order of their train ids.
_EVALUATED = (7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33)
_RAW = range(34)  # all ids, licence plates (-1) not being drawn
_TRAIN_IDS = id_table(_EVALUATED, others=_RAW)


def plan(raw: RawData, out: Path) -> list[Task]:
    """List the files to be made.

    Args:
        raw: The official files.
        out: The data root.

    Raises:
        InputError: If something is missing.
    """
    images = raw.require(r'leftImg8bit/val/(\w+/\w+)_leftImg8bit\.png', IMAGES)
    labels = raw.require(r'gtFine/val/(\w+/\w+)_gtFine_labelIds\.png', LABELS)
    targets = 'leftImg8bit/val/{}_leftImg8bit.png', 'gtFine/val/{}_gtFine_labelTrainIds.png'
    convert = partial(map_file, table=_TRAIN_IDS)
    return pair_tasks(out / 'cityscapes', images, labels, targets, convert)
