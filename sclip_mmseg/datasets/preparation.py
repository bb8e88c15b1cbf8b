"""Write a dataset's files: in parallel, only what is missing, never half a file."""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image
from scipy.io.matlab import MatReadError
from tqdm.contrib.concurrent import process_map

from ..utils.errors import InputError
from ..utils.files import digest_of
from .raw import ARCHIVE_ERRORS, Entry, FileEntry

# What archives, Pillow and SciPy raise on damaged files or ones of another kind.
_UNREADABLE = (
    *ARCHIVE_ERRORS,
    MatReadError,
    NotImplementedError,
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
)


@dataclass(frozen=True)
class Task:
    """One file to be made.

    Attributes:
        target: Where it shall lie.
        source: What it is made from.
        convert: Makes a label map, uint8 ``[H, W]``, of the source; None takes the file as it is.
    """

    target: Path
    source: Entry
    convert: Optional[Callable[[Entry], np.ndarray]] = None

    def run(self) -> None:
        """Make the file.

        Raises:
            InputError: If the source cannot be read or the target cannot be written.
        """
        link = self.convert is None and isinstance(self.source, FileEntry)
        content = None if link else self._content()
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            if link:
                _link(self.source.path, self.target)
            else:
                _write(self.target, content)
        except OSError as error:
            raise InputError(f'{self.target} cannot be written: {error}') from error

    def _content(self) -> bytes:
        try:
            return self.source.read() if self.convert is None else self._label()
        except InputError:
            raise
        except _UNREADABLE as error:
            raise InputError(f'{self.source} cannot be read: {error}; fetch it again') from error

    def _label(self) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self.convert(self.source)).save(buffer, 'PNG')
        return buffer.getvalue()


def _write(target: Path, content: bytes) -> None:
    part = target.with_name(target.name + '.part')
    part.write_bytes(content)
    os.replace(part, target)


def _link(source: Path, target: Path) -> None:
    source = source.resolve()  # a link to the file, not to a symbolic link
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        _write(target, source.read_bytes())


def map_ids(source: Entry, table: np.ndarray) -> np.ndarray:
    """Read a label map and replace its ids.

    Args:
        source: An image file of one byte per pixel.
        table: New id of each old one, uint8 ``[256]``.

    Raises:
        InputError: If the file is no label map.
    """
    label = np.array(Image.open(io.BytesIO(source.read())))
    if label.ndim != 2 or label.dtype != np.uint8:
        raise InputError(f'{source} is no label map of one byte per pixel: {label.shape}')
    return table[label]


def id_table(ids: Sequence[int], first: int = 0, other: int = 255) -> np.ndarray:
    """Table that numbers given ids in their order.

    Args:
        ids: Ids, 0 to 255.
        first: New id of the first one.
        other: New id of all that are not given.

    Returns:
        uint8 ``[256]``.
    """
    table = np.full(256, other, dtype=np.uint8)
    table[list(ids)] = np.arange(first, first + len(ids))
    return table


def pair(
    images: Dict[str, Entry], labels: Dict[str, Entry], names: Optional[Iterable[str]] = None
) -> List[str]:
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
    images: Dict[str, Entry],
    labels: Dict[str, Entry],
    targets: Tuple[str, str],
    convert: Optional[Callable[[Entry], np.ndarray]] = None,
    names: Optional[Iterable[str]] = None,
) -> List[Task]:
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


def read_split(entry: Entry) -> List[str]:
    """The names that a split file lists, one per line."""
    return entry.read().decode().split()


def run_tasks(tasks: Sequence[Task], digests: Dict[Path, str], nproc: int, title: str) -> int:
    """Make the files that do not exist.

    Args:
        tasks: All files of a dataset.
        digests: MD5 or SHA-256 of archives, which are compared before one is read.
        nproc: Number of processes.
        title: Stands before the progress bar.

    Returns:
        Number of files made.

    Raises:
        InputError: If an archive has another digest than published, or a file cannot be read.
    """
    todo = [task for task in tasks if not task.target.exists()]
    for path in sorted({task.source.archive for task in todo if task.source.archive}):
        if path in digests:
            _verify(path, digests[path])
    if todo:
        process_map(Task.run, todo, max_workers=nproc, chunksize=4, desc=title, unit='file')
    return len(todo)


def _verify(path: Path, digest: str) -> None:
    found = digest_of(path, digest)
    if found != digest:
        raise InputError(
            f'{path} has checksum {found}, published is {digest}: it is damaged, incomplete or '
            'another file; fetch it again'
        )
