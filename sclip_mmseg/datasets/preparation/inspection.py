"""Inspection of a dataset's files: sizes, ids, and common mistakes."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset
from PIL import Image

from ...utils.errors import InputError
from ...utils.images import UNREADABLE
from ..class_list import LARGEST_ID
from ..loading import CheckedImageLoader


@dataclass
class PairReport:
    """Findings in one image and its label.

    Attributes:
        problems: Sentences on problems of the files.
        histogram: Number of pixels of each id stored in the label file, int64 ``[256]`` or longer.
    """

    problems: list[str] = field(default_factory=list)
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(256, dtype=np.int64))


def inspect_pair(info: dict) -> PairReport:
    """Inspect an image and its label as stored.

    Args:
        info: A dataset's info with ``img_path`` and ``seg_map_path``.
    """
    report = PairReport()
    image_size = _image_size(info, report)
    label = _read_label(info['seg_map_path'], report)
    if label is None:
        return report
    if image_size is not None and image_size != label.shape:
        report.problems.append(
            f'{info["seg_map_path"]} is {label.shape[1]}×{label.shape[0]} pixels, its image '
            f'{image_size[1]}×{image_size[0]}'
        )
    report.histogram = np.bincount(label.ravel(), minlength=256)
    return report


def _image_size(info: dict, report: PairReport) -> tuple[int, int] | None:
    path = info['img_path']
    try:
        _require_file(path)
        with Image.open(path) as file:
            file.load()  # unlike OpenCV, Pillow rejects truncated and empty images
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            image = CheckedImageLoader()(dict(info))['img']
    except InputError as error:
        report.problems.append(str(error))
        return None
    except UNREADABLE as error:
        report.problems.append(f'image {path} is missing or unreadable: {error}')
        return None
    report.problems += (str(warning.message) for warning in said)
    return image.shape[:2]


def _read_label(path: str, report: PairReport) -> np.ndarray | None:
    try:
        _require_file(path)
        with Image.open(path) as file:
            label = np.array(file)
    except UNREADABLE as error:
        report.problems.append(f'label {path} is missing or unreadable: {error}')
        return None
    if label.ndim != 2 or label.dtype.kind not in 'bui':
        report.problems.append(
            f'{path} is not a label map of one integer per pixel: {label.shape}, {label.dtype}'
        )
        return None
    if label.min() < 0 or label.max() > LARGEST_ID:
        strange = np.unique(label[(label < 0) | (label > LARGEST_ID)])[:5].tolist()
        report.problems.append(f'{path} holds ids {strange} outside 0 to {LARGEST_ID}')
        return None
    return label.astype(np.int64)


def _require_file(path: str) -> None:
    """Raise if a path is not a file, since opening a pipe would block."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError('it is not a file')


def sum_histograms(histograms: Sequence[np.ndarray]) -> np.ndarray:
    """Add histograms of different lengths, int64 with the length of the longest."""
    total = np.zeros(max([256, *map(len, histograms)]), dtype=np.int64)
    for histogram in histograms:
        total[: len(histogram)] += histogram
    return total


def match_labels(dataset: BaseDataset) -> tuple[int, list[str]]:
    """Compare the label files in a folder with the images.

    Args:
        dataset: A dataset of the images in a folder or a split file.

    Returns:
        Number of images with a label, and sentences on labels without an image (not with a split
        file, where other labels are allowed) and on labels with other names.
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


def find_outside(histogram: np.ndarray, dataset: BaseDataset) -> list[int]:
    """Ids in label files that are neither classes nor ignored.

    Args:
        histogram: Number of pixels of each stored id.
        dataset: The dataset of the labels.
    """
    end = len(dataset.metainfo['classes']) + (1 if dataset.reduce_zero_label else 0)
    return [i for i in np.flatnonzero(histogram).tolist() if i >= end and i != dataset.ignore_index]


def name_mistakes(histogram: np.ndarray, dataset: BaseDataset) -> list[str]:
    """Recognise labels of the wrong kind by the ids in all label files.

    Args:
        histogram: Number of pixels of each stored id, int64 ``[256]`` or longer.
        dataset: The dataset of the labels.
    """
    num_classes = len(dataset.metainfo['classes'])
    first = 1 if dataset.reduce_zero_label else 0
    stored = np.flatnonzero(histogram).tolist()
    outside = find_outside(histogram, dataset)
    name = type(dataset).__name__
    mistakes = []
    if stored and not outside and not any(class_histogram(histogram, dataset)):
        mistakes.append(f'labels hold nothing but ignored pixels ({", ".join(map(str, stored))})')
    elif stored == [0, 255]:
        mistakes.append(
            'labels hold nothing but 0 and 255: of masks with 255 for the foreground, make label '
            'maps with the ids of its class'
        )
    elif outside == [num_classes] and not dataset.reduce_zero_label:
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
    elif stored and not histogram[0] and _stores_background(dataset):
        mistakes.append(
            'labels never hold 0, the background: they look off by one, or are of another label set'
        )
    return mistakes


def _background_is_ignored(histogram: np.ndarray, dataset: BaseDataset) -> bool:
    """Whether labels whose 0 should be the background look reduced already."""
    if not _stores_background(dataset):
        return False
    last = len(dataset.metainfo['classes']) - (0 if dataset.reduce_zero_label else 1)
    return histogram[dataset.ignore_index] > histogram[0] and not histogram[last]


def _stores_background(dataset: BaseDataset) -> bool:
    """Whether 0 in the label files is the background, evaluated or not."""
    stores_ignored = getattr(dataset, 'stores_ignore_index', False)
    return dataset.metainfo['classes'][0] == 'background' or stores_ignored


def class_histogram(histogram: np.ndarray, dataset: BaseDataset) -> Sequence[int]:
    """Number of pixels of each class, K integers."""
    first = 1 if dataset.reduce_zero_label else 0
    count = len(dataset.metainfo['classes'])
    return np.pad(histogram, (0, count))[first : first + count].tolist()
