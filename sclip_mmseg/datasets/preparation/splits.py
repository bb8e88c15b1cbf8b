"""A split's images and labels, and the files to be made of them."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import InputError
from .archives import Entry, read_text
from .tasks import Task


def pair(
    images: Mapping[str, Any], labels: Mapping[str, Any], names: Iterable[str] | None = None
) -> list[str]:
    """The names of a split, each of which must have an image and a label.

    Args:
        images: Images by name.
        labels: Labels by name.
        names: The split; by default all names.

    Raises:
        InputError: If an image or label is missing.
    """
    names = sorted(set(images) | set(labels)) if names is None else list(names)
    for kind, files in (('image', images), ('label', labels)):
        lost = [name for name in names if name not in files]
        if lost:
            where = next(iter(files.values()))
            raise InputError(
                f'{len(lost)} of {len(names)} images of the split have no {kind} file, the first '
                f'is {lost[0]} (others are there, such as {where}): the raw data are incomplete'
            )
    return names


def pair_tasks(
    root: Path,
    images: Mapping[str, Entry],
    labels: Mapping[str, Entry],
    targets: tuple[str, str],
    convert: Callable[[Entry], np.ndarray] | None = None,
    names: Iterable[str] | None = None,
) -> list[Task]:
    """List the files to be made of a split's images and labels.

    Args:
        root: Folder that gets the files.
        images: Images by name.
        labels: Labels by name.
        targets: Where an image and its label lie below ``root``, ``{}`` standing for the name.
        convert: Makes a label map of a label, see :class:`Task`.
        names: The split; by default all names.

    Raises:
        InputError: If an image or label is missing.
    """
    image_target, label_target = targets
    tasks = []
    for name in pair(images, labels, names):
        tasks.append(Task(root / image_target.format(name), images[name]))
        tasks.append(Task(root / label_target.format(name), labels[name], convert))
    return tasks


def read_split(entry: Entry) -> list[str]:
    """The names that a split file lists, one per line."""
    return read_text(entry).split()
