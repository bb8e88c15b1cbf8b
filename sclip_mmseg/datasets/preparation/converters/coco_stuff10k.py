"""COCO-Stuff 10k: the test split, with train ids made of the MATLAB files."""

from pathlib import Path

import numpy as np

from ...benchmarks import BENCHMARKS
from ..archives import Entry
from ..coco import CLASSES
from ..labels import id_table, map_ids, read_variable
from ..raw import RawData
from ..splits import pair_tasks, read_split
from ..tasks import Task

[STUFF10K] = BENCHMARKS['coco_stuff10k'].archives
# COCO's numbers are the pixel maps' ids plus 1; 0 is unlabeled.
_TRAIN_IDS = id_table([raw + 1 for raw in CLASSES], first=1, other=0, others=[0])


def read_mat(source: Entry) -> np.ndarray:
    """Read the label map of a MATLAB file.

    Returns:
        uint8 ``[H, W]``; 0 unlabeled, 1 to 171 classes.

    Raises:
        InputError: If there is no label map, or it holds other ids.
    """
    return map_ids(read_variable(source, 'S'), _TRAIN_IDS, source)


def plan(raw: RawData, out: Path) -> list[Task]:
    """List the files to be made.

    Args:
        raw: The official files.
        out: The data root.

    Raises:
        InputError: If something is missing.
    """
    labels = raw.require(r'annotations/(COCO_train2014_\d+)\.mat', STUFF10K)
    images = raw.require(r'images/(?:test2014/)?(COCO_train2014_\d+)\.jpg', STUFF10K)
    [split] = raw.require(r'(imageLists/test)\.txt', STUFF10K).values()
    targets = 'images/test2014/{}.jpg', 'annotations/test2014/{}_labelTrainIds.png'
    root = out / 'coco_stuff10k'
    return pair_tasks(root, images, labels, targets, read_mat, read_split(split))
