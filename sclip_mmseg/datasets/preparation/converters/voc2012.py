"""PASCAL VOC 2012: the segmentation set's validation split, as it is."""

from pathlib import Path

from ...benchmarks import BENCHMARKS
from ..raw import RawData
from ..splits import pair_tasks, read_split
from ..tasks import Task

[TRAINVAL] = BENCHMARKS['voc21'].archives


def plan(raw: RawData, out: Path) -> list[Task]:
    """List the files to be made.

    Args:
        raw: The official files.
        out: The data root.

    Raises:
        InputError: If something is missing.
    """
    lists = raw.require(r'VOC2012/(ImageSets/Segmentation/val)\.txt', TRAINVAL)
    images = raw.require(r'VOC2012/JPEGImages/(\w+)\.jpg', TRAINVAL)
    labels = raw.require(r'VOC2012/SegmentationClass/(\w+)\.png', TRAINVAL)
    root = out / 'VOCdevkit/VOC2012'
    [split] = lists.values()
    targets = 'JPEGImages/{}.jpg', 'SegmentationClass/{}.png'
    return [
        Task(root / 'ImageSets/Segmentation/val.txt', split),
        *pair_tasks(root, images, labels, targets, names=read_split(split)),
    ]
