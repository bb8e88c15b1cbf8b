"""PASCAL VOC 2012: the segmentation set's validation split, as it is."""

from pathlib import Path
from typing import List

from sclip_mmseg.datasets.preparation.archives import Archive
from sclip_mmseg.datasets.preparation.raw import RawData
from sclip_mmseg.datasets.preparation.splits import pair_tasks, read_split
from sclip_mmseg.datasets.preparation.tasks import Task

TRAINVAL = Archive(
    'VOCtrainval_11-May-2012.tar',
    page='http://host.robots.ox.ac.uk/pascal/VOC/voc2012/',
    url='https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar',
    digest='6cd6e144f989b92b3379bac3b3de84fd',
)


def plan(raw: RawData, out: Path) -> List[Task]:
    """List the files to be made.

    Args:
        raw: The official files.
        out: The data root.

    Raises:
        InputError: If something is missing.
    """
    split = raw.require(r'VOC2012/(ImageSets/Segmentation/val)\.txt', TRAINVAL)
    images = raw.require(r'VOC2012/JPEGImages/(\w+)\.jpg', TRAINVAL)
    labels = raw.require(r'VOC2012/SegmentationClass/(\w+)\.png', TRAINVAL)
    root = out / 'VOCdevkit/VOC2012'
    [split] = split.values()
    targets = 'JPEGImages/{}.jpg', 'SegmentationClass/{}.png'
    return [
        Task(root / 'ImageSets/Segmentation/val.txt', split),
        *pair_tasks(root, images, labels, targets, names=read_split(split)),
    ]
