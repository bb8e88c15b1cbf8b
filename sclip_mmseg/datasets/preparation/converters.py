"""Layouts of the benchmarks' files; PASCAL Context has its own module."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..benchmarks import Archive
from .archives import Entry, FileEntry, read_text
from .labels import id_table, map_file, map_ids, read_variable
from .raw import RawData
from .tasks import Task, pair


@dataclass(frozen=True)
class Converter:
    """Paths of a split's files in the archives and below the data root.

    Attributes:
        folder: Target folder, below the data root.
        images, labels: Regular expressions of paths in the archives, whose group is the name.
        targets: Paths of an image and its label in the folder, with ``{}`` for the name.
        convert: Function that makes a label map from a label, see :class:`.tasks.Task`.
        lent: Glob pattern, below the data root, of another benchmark's images that can be used.
        split: Regular expression of the path of the split file in the archives.
        split_target: Path of the split file in the folder; empty to leave it out.
    """

    folder: str
    images: str
    labels: str
    targets: tuple[str, str]
    convert: Callable[[Entry], np.ndarray] | None = None
    lent: str = ''
    split: str = ''
    split_target: str = ''

    def plan(self, raw: RawData, out: Path, archives: Sequence[Archive]) -> list[Task]:
        """List the files to write.

        Args:
            raw: The official files.
            out: The data root.
            archives: The archives of images and of labels, or a single one.

        Raises:
            InputError: If a file is missing.
        """
        images: dict[str, Entry] = {}
        if self.lent:
            images = {path.stem: FileEntry(path) for path in out.glob(self.lent)}
        else:
            images = raw.require(self.images, archives[0])
        labels = raw.require(self.labels, archives[-1])
        if self.lent and not images.keys() >= labels.keys():
            images = raw.require(self.images, archives[0])
        root, names = out / self.folder, None
        tasks: list[Task] = []
        if self.split:
            [split] = raw.require(self.split, archives[0]).values()
            names = read_text(split).split()
            if self.split_target:
                tasks.append(Task(root / self.split_target, split))
        image_target, label_target = self.targets
        for name in pair(images, labels, names):
            tasks.append(Task(root / image_target.format(name), images[name]))
            tasks.append(Task(root / label_target.format(name), labels[name], self.convert))
        return tasks


# COCO numbers its things 1 to 90 without these; pixel maps contain the number minus 1.
_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
#: Ids of COCO's 80 things, and of COCO-Stuff's 91 stuff classes, in its pixel maps.
_THINGS = tuple(number - 1 for number in range(1, 91) if number not in _UNUSED)
_STUFF = tuple(range(91, 182))
_COCO_VOID = 255
# 0 for stuff and void, 1 to 80 for things.
OBJECT_IDS = id_table(_THINGS, first=1, other=0, others=[*_STUFF, _COCO_VOID])
_STUFF_IDS = id_table([*_THINGS, *_STUFF], others=[_COCO_VOID])
# COCO-Stuff 10k: COCO's numbers are the pixel maps' ids plus 1; 0 is unlabeled.
_STUFF10K_IDS = id_table([raw + 1 for raw in (*_THINGS, *_STUFF)], first=1, other=0, others=[0])
# Raw ids of the 19 evaluated classes of Cityscapes, in the order of their train ids; licence plates
# (-1) are not drawn.
_EVALUATED = (7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33)
_CITYSCAPES_IDS = id_table(_EVALUATED, others=range(34))


def _read_stuff10k(source: Entry) -> np.ndarray:
    """Read the label map of a MATLAB file: 0 unlabeled, 1 to 171 classes."""
    return map_ids(read_variable(source, 'S'), _STUFF10K_IDS, source)


CONVERTERS = {
    'voc2012': Converter(
        'VOCdevkit/VOC2012',
        images=r'VOC2012/JPEGImages/(\w+)\.jpg',
        labels=r'VOC2012/SegmentationClass/(\w+)\.png',
        targets=('JPEGImages/{}.jpg', 'SegmentationClass/{}.png'),
        split=r'VOC2012/(ImageSets/Segmentation/val)\.txt',
        split_target='ImageSets/Segmentation/val.txt',
    ),
    'coco_object': Converter(
        'coco_object',
        images=r'val2017/(\d+)\.jpg',
        labels=r'val2017/(\d+)\.png',
        targets=('images/val2017/{}.jpg', 'annotations/val2017/{}_instanceTrainIds.png'),
        convert=partial(map_file, table=OBJECT_IDS),
        lent='coco_stuff164k/images/val2017/*.jpg',
    ),
    'coco_stuff164k': Converter(
        'coco_stuff164k',
        images=r'val2017/(\d+)\.jpg',
        labels=r'val2017/(\d+)\.png',
        targets=('images/val2017/{}.jpg', 'annotations/val2017/{}_labelTrainIds.png'),
        convert=partial(map_file, table=_STUFF_IDS),
    ),
    'coco_stuff10k': Converter(
        'coco_stuff10k',
        images=r'images/(?:test2014/)?(COCO_train2014_\d+)\.jpg',
        labels=r'annotations/(COCO_train2014_\d+)\.mat',
        targets=('images/test2014/{}.jpg', 'annotations/test2014/{}_labelTrainIds.png'),
        convert=_read_stuff10k,
        split=r'(imageLists/test)\.txt',
    ),
    'cityscapes': Converter(
        'cityscapes',
        images=r'leftImg8bit/val/(\w+/\w+)_leftImg8bit\.png',
        labels=r'gtFine/val/(\w+/\w+)_gtFine_labelIds\.png',
        targets=('leftImg8bit/val/{}_leftImg8bit.png', 'gtFine/val/{}_gtFine_labelTrainIds.png'),
        convert=partial(map_file, table=_CITYSCAPES_IDS),
    ),
    'ade20k': Converter(
        'ade/ADEChallengeData2016',
        images=r'ADEChallengeData2016/images/validation/(\w+)\.jpg',
        labels=r'ADEChallengeData2016/annotations/validation/(\w+)\.png',
        targets=('images/validation/{}.jpg', 'annotations/validation/{}.png'),
    ),
}
