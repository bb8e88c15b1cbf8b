"""Cityscapes: the validation split, with train ids made of the raw ids."""

from functools import partial
from pathlib import Path
from typing import List

from sclip_mmseg.datasets.preparation import Task, id_table, map_ids, pair
from sclip_mmseg.datasets.raw import Archive, RawData

_PAGE = 'https://www.cityscapes-dataset.com/downloads/'
IMAGES = Archive('leftImg8bit_trainvaltest.zip', page=_PAGE)
LABELS = Archive('gtFine_trainvaltest.zip', page=_PAGE)
# Raw ids of the 19 classes that are evaluated, in the order of their train ids.
_EVALUATED = (7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33)
_TRAIN_IDS = id_table(_EVALUATED)


def plan(raw: RawData, out: Path) -> List[Task]:
    """List the files to be made.

    Args:
        raw: The official files.
        out: The data root.

    Raises:
        InputError: If something is missing.
    """
    images = raw.require(r'leftImg8bit/val/(\w+/\w+)_leftImg8bit\.png', IMAGES)
    labels = raw.require(r'gtFine/val/(\w+/\w+)_gtFine_labelIds\.png', LABELS)
    root = out / 'cityscapes'
    convert = partial(map_ids, table=_TRAIN_IDS)
    tasks = []
    for name in pair(images, labels):
        tasks.append(Task(root / f'leftImg8bit/val/{name}_leftImg8bit.png', images[name]))
        target = root / f'gtFine/val/{name}_gtFine_labelTrainIds.png'
        tasks.append(Task(target, labels[name], convert))
    return tasks
