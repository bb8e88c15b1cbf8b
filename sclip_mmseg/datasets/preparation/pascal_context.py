"""PASCAL Context: 59 classes and background, from the JSON annotation or the MATLAB files."""

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from mmseg.datasets import PascalContextDataset
from PIL import Image

from ...utils.errors import InputError
from ..benchmarks import BENCHMARKS
from .archives import Entry, TextEntry, read_text
from .labels import map_ids, read_variable
from .raw import RawData
from .tasks import Task, pair

VOC2010, MERGED, LABELS59, LABELS459, NAMES59 = BENCHMARKS['context59'].archives

CLASSES: tuple[str, ...] = PascalContextDataset.METAINFO['classes']
# Ids of classes 1 to 59 among all 459 categories, which are sorted by name.
_IDS_OF_459 = (
    *(2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105),
    *(113, 115, 144, 158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308),
    *(324, 326, 347, 349, 354, 355, 360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454),
    458,
)
_FROM_459 = np.zeros(460, dtype=np.uint8)
_FROM_459[list(_IDS_OF_459)] = np.arange(1, 60)
_JSON = r'(trainval_merged)\.json'
_MAT59 = r'59_context_labels/(\w+)\.mat'
_MAT459 = r'trainval/(\w+)\.mat'
# Names in 59_labels.txt that differ from those of the 459 categories and of mmseg.
_RENAMED = {'diningtable': 'table', 'bedcloth': 'bedclothes', 'clothes': 'cloth'}


@dataclass(frozen=True)
class Label:
    """The source of a label map, and its converter."""

    source: Entry
    convert: Callable[[Entry], np.ndarray]

    def __str__(self) -> str:
        return str(self.source)


def plan(raw: RawData, out: Path, annotation: str | None) -> list[Task]:
    """List the files to write.

    Args:
        raw: The official files.
        out: The data root.
        annotation: ``'json'`` or ``'mat'``; None for JSON, unless there are only MATLAB files.

    Raises:
        InputError: If a file is missing, or the folder was made from the other annotation.
    """
    if annotation is None:
        mat = raw.find(_MAT59, LABELS59) or raw.find(_MAT459, LABELS459)
        only_mat = mat and not raw.find(_JSON, MERGED)
        annotation = 'mat' if only_mat else 'json'
    images = raw.require(r'VOC2010/JPEGImages/(\w+)\.jpg', VOC2010)
    if annotation == 'json':
        labels = plan_json(raw)
        names = sorted(labels)
    else:
        labels = plan_mat(raw)
        [split] = raw.require(r'VOC2010/(ImageSets/Main/val)\.txt', VOC2010).values()
        names = read_text(split).split()
    pair(images, labels, names)
    root = out / 'VOCdevkit/VOC2010'
    folder = root / 'SegmentationClassContext'
    texts = {
        folder / 'MADE_FROM.txt': annotation,
        root / 'ImageSets/SegmentationContext/val.txt': '\n'.join(names),
    }
    tasks = []
    for target, text in texts.items():
        if target.exists() and target.read_bytes().split() != text.encode().split():
            raise InputError(
                f'{root} was prepared from another annotation or set of images, as {target.name} '
                'says: remove SegmentationClassContext and ImageSets/SegmentationContext there, '
                'or choose another --data-root'
            )
        tasks.append(Task(target, TextEntry(f'{text}\n')))
    for name in names:
        tasks.append(Task(root / f'JPEGImages/{name}.jpg', images[name]))
        tasks.append(Task(folder / f'{name}.png', labels[name].source, labels[name].convert))
    return tasks


def plan_json(raw: RawData) -> dict[str, Label]:
    """Labels of the validation images in the JSON annotation, by name.

    Raises:
        InputError: If the annotation is missing or has another format.
    """
    [entry] = raw.require(_JSON, MERGED).values()
    text, segments = read_text(entry), defaultdict(list)
    try:
        data = json.loads(text)
        for segment in data['annos_segmentation']:
            drawn = segment['category_id'], segment['segmentation']
            segments[segment['image_id']].append(drawn)
        return {
            Path(image['file_name']).stem: Label(
                entry,
                partial(
                    draw_segments,
                    size=_size_of(image),
                    segments=segments[image['image_id']],
                ),
            )
            for image in data['images']
            if image['phase'] == 'val'
        }
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f'{entry} is not the annotation of PASCAL in Detail ({error!r}): get {MERGED.name} '
            f'from {MERGED.page}'
        ) from error


def _size_of(image: dict) -> tuple[int, int]:
    size = int(image['height']), int(image['width'])
    if min(size) < 1 or math.prod(size) > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise ValueError(f'an image of {size} pixels')
    return size


def draw_segments(
    source: Entry, size: tuple[int, int], segments: Sequence[tuple[int, dict]]
) -> np.ndarray:
    """Make a label map from an image's segments.

    Args:
        source: Source of the segments, for error messages.
        size: Height and width.
        segments: Category (of 459) and run lengths of each segment.

    Returns:
        Label map, uint8 ``[H, W]``; 0 background, 1 to 59 classes.
    """
    label = np.zeros(size, dtype=np.uint8)
    for category, segmentation in segments:
        if category not in range(len(_FROM_459)):
            raise InputError(f'{source} has category {category}, PASCAL Context has 459')
        try:
            if tuple(segmentation['size']) != size:
                raise ValueError(f'its size is {segmentation["size"]}')
            label[decode_run_lengths(segmentation['counts'], size)] = _FROM_459[category]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f'{source} has a segment that is not in run lengths of a {size[1]}×{size[0]} '
                f'image: {error!r}'
            ) from error
    return label


def decode_run_lengths(counts: str | Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Decode a mask in COCO's format.

    Args:
        counts: Lengths of alternating runs of 0 and 1, in column-major order; or COCO's text of
            them: characters from 48 on with five bits each, where the sixth bit marks a
            continuation; negative numbers as two's complement; from the fourth number on, the
            difference from the number two places before.
        size: Height and width.

    Returns:
        Mask, bool ``[H, W]``.

    Raises:
        ValueError: If the runs do not have the length of the mask.
    """
    if isinstance(counts, str):
        counts = _read_counts(counts)
    if min(counts, default=0) < 0 or sum(counts) != math.prod(size):
        raise ValueError(f'its runs have {sum(counts)} pixels')
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size[::-1]).T


def _read_counts(text: str) -> list[int]:
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts


def plan_mat(raw: RawData) -> dict[str, Label]:
    """Labels of all images with MATLAB files, by name.

    Raises:
        InputError: If there are none, or 59_labels.txt is missing or names other classes.
    """
    files = raw.find(_MAT59, LABELS59)
    if files:
        [names] = raw.require(r'(59_labels)\.txt', NAMES59).values()
        table = read_names(names)
    else:
        files, table = raw.require(_MAT459, LABELS459), _FROM_459
    convert = partial(read_mat, table=table)
    return {name: Label(entry, convert) for name, entry in files.items()}


def read_names(source: Entry) -> np.ndarray:
    """Read 59_labels.txt, which numbers VOC's classes first, as ``1: aeroplane``.

    Returns:
        Number → class, uint8 ``[60]``.
    """
    table = np.zeros(60, dtype=np.uint8)
    for number, name in re.findall(r'(\d+)\s*:\s*(\w+)', read_text(source)):
        name = _RENAMED.get(name, name)
        if 0 < int(number) < 60 and name in CLASSES:
            table[int(number)] = CLASSES.index(name)
    if sorted(table) != list(range(60)):
        raise InputError(f'{source} does not number the 59 classes of PASCAL Context')
    return table


def read_mat(source: Entry, table: np.ndarray) -> np.ndarray:
    """Read the label map of a MATLAB file.

    Args:
        source: The file, with a variable ``LabelMap``.
        table: Id → class, uint8 ``[60]`` or ``[460]``.

    Returns:
        Label map, uint8 ``[H, W]``; 0 background, 1 to 59 classes.

    Raises:
        InputError: If there is no label map, or it has larger ids than the table.
    """
    return map_ids(read_variable(source, 'LabelMap'), table, source)
