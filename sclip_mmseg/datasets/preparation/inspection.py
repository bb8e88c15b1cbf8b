"""What is in a dataset's files: sizes, ids, and the usual mistakes by name."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import mmcv
import numpy as np
from mmengine.dataset import BaseDataset
from PIL import Image

# What Pillow raises on files that are cut off or no pictures.
_UNREADABLE = (OSError, SyntaxError, ValueError)


@dataclass
class PairReport:
    """What was found in one image and its label.

    Attributes:
        problems: Sentences on what is wrong with the files.
        histogram: Number of pixels of each id as stored in the label file, int64 ``[256]``.
    """

    problems: List[str] = field(default_factory=list)
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(256, dtype=np.int64))


def inspect_pair(info: dict) -> PairReport:
    """Read an image and its label as they are stored.

    Args:
        info: A dataset's info with ``img_path`` and ``seg_map_path``.
    """
    report = PairReport()
    image_size = _image_size(info['img_path'], report)
    label = _read_label(info['seg_map_path'], report)
    if label is None:
        return report
    if image_size is not None and image_size != label.shape:
        report.problems.append(
            f'{info["seg_map_path"]} is {label.shape[1]}×{label.shape[0]} pixels, its image '
            f'{image_size[1]}×{image_size[0]}'
        )
    report.histogram = np.bincount(label.flatten(), minlength=256)
    return report


def _image_size(path: str, report: PairReport) -> Optional[Tuple[int, int]]:
    try:
        with Image.open(path) as file:
            file.load()  # unlike OpenCV, Pillow refuses an image that is cut off or empty
        image = mmcv.imread(path)
    except _UNREADABLE as error:
        report.problems.append(f'image {path} is missing or unreadable: {error}')
        return None
    if image is None:
        report.problems.append(f'{path} is no image')
        return None
    return image.shape[:2]


def _read_label(path: str, report: PairReport) -> Optional[np.ndarray]:
    try:
        with Image.open(path) as file:
            label = np.array(file)
    except _UNREADABLE as error:
        report.problems.append(f'label {path} is missing or unreadable: {error}')
        return None
    if label.ndim != 2 or label.dtype != np.uint8:
        report.problems.append(f'{path} is no label map of one byte per pixel: {label.shape}')
        return None
    return label


def match_labels(dataset: BaseDataset) -> Tuple[int, List[str]]:
    """Compare the label files of a folder with the images.

    Args:
        dataset: A dataset of images that are listed or lie in a folder.

    Returns:
        Number of images that have a label, and sentences on labels without an image (unless the
        images are listed, so that other labels may lie beside) and on labels of another name.
    """
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    wanted = {os.path.normpath(info['seg_map_path']) for info in infos}
    folder = Path(dataset.data_prefix['seg_map_path'])
    found = {os.path.normpath(path) for path in folder.rglob('*.png')}
    problems = []
    if wanted and found and not wanted & found:
        problems.append(
            f'{folder} holds {len(found)} label files such as {Path(min(found)).name}, none of '
            f'which is named as {type(dataset).__name__} wants them, such as '
            f'{Path(min(wanted)).name}: these are labels of another kind or benchmark (convert '
            'them with tools/prepare_data.py)'
        )
    elif not dataset.ann_file:
        lost = sorted(path for path in found - wanted if path.endswith(dataset.seg_map_suffix))
        if lost:
            problems.append(f'{len(lost)} labels have no image, the first is {lost[0]}')
    return len(wanted & found), problems


def name_mistakes(histogram: np.ndarray, dataset: BaseDataset) -> List[str]:
    """Recognise labels of the wrong kind by the ids that all label files together hold.

    Args:
        histogram: Number of pixels of each id as stored, ``[256]``.
        dataset: The dataset that reads them.
    """
    num_classes = len(dataset.metainfo['classes'])
    first = 1 if dataset.reduce_zero_label else 0
    stored = np.flatnonzero(histogram)
    outside = [int(i) for i in stored if i >= num_classes + first and i != dataset.ignore_index]
    name = type(dataset).__name__
    mistakes = []
    if outside == [num_classes] and not dataset.reduce_zero_label:
        mistakes.append(
            f'labels go from 0 to {num_classes}, {name} expects 0 to {num_classes - 1}: they keep '
            '0 for ignored pixels and need reduce_zero_label=True'
        )
    elif outside:
        mistakes.append(
            f'labels hold ids {outside[:5]} outside the {num_classes} classes of {name}: these are '
            'raw ids, not train ids (convert them), or another label set'
        )
    elif dataset.reduce_zero_label and not getattr(dataset, 'stores_ignore_index', False):
        if dataset.ignore_index in stored and num_classes not in stored:
            mistakes.append(
                f'labels hold {dataset.ignore_index} but never {num_classes}: they look reduced '
                f'already, while {name} has reduce_zero_label=True and would ignore the first class'
            )
    elif _background_is_ignored(histogram, dataset):
        mistakes.append(
            f'labels hold more pixels of {dataset.ignore_index} than of 0 and none of '
            f'{num_classes + first - 1}: they look reduced already, background as '
            f'{dataset.ignore_index}, while {name} wants background as 0 and classes from 1'
        )
    return mistakes


def _background_is_ignored(histogram: np.ndarray, dataset: BaseDataset) -> bool:
    """Whether labels whose 0 should be the background seem to have been reduced."""
    stores_background = getattr(dataset, 'stores_ignore_index', False)
    if dataset.metainfo['classes'][0] != 'background' and not stores_background:
        return False
    last = len(dataset.metainfo['classes']) - (0 if dataset.reduce_zero_label else 1)
    return histogram[dataset.ignore_index] > histogram[0] and not histogram[last]


def class_histogram(histogram: np.ndarray, dataset: BaseDataset) -> Sequence[int]:
    """Number of pixels of each class, K integers."""
    first = 1 if dataset.reduce_zero_label else 0
    return histogram[first : first + len(dataset.metainfo['classes'])].tolist()
