"""Write the missing files of a dataset, in parallel and atomically."""

import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io.matlab import MatReadError

from ...utils.errors import InputError
from ...utils.files import digest_of
from ...utils.images import UNREADABLE
from ...utils.processes import map_in_processes
from .archives import ARCHIVE_ERRORS, Entry, FileEntry
from .labels import UnknownIds

# Exceptions of archives, Pillow and SciPy for files that are damaged or have another format.
_UNREADABLE = (*ARCHIVE_ERRORS, *UNREADABLE, MatReadError)


@dataclass(frozen=True)
class Task:
    """A file to write.

    Attributes:
        target: Path of the file.
        source: Its source.
        convert: Function that makes a label map, uint8 ``[H, W]``, from the source; None to link or
            copy the source.
    """

    target: Path
    source: Entry
    convert: Callable[[Entry], np.ndarray] | None = None

    def run(self) -> None:
        """Write the file.

        Raises:
            InputError: If the source cannot be read or the target cannot be written.
        """
        linked = None
        if self.convert is None and isinstance(self.source, FileEntry):
            linked = self.source.path
        content = b'' if linked else self._content()
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            if linked:
                _link(linked, self.target)
            else:
                _write(self.target, content)
        except OSError as error:
            raise InputError(f'{self.target} cannot be written: {error}') from error

    def _content(self) -> bytes:
        try:
            if self.convert is None:
                return self.source.read()
            buffer = io.BytesIO()
            Image.fromarray(self.convert(self.source)).save(buffer, 'PNG')
            return buffer.getvalue()
        except InputError:
            raise
        except _UNREADABLE as error:
            raise InputError(f'{self.source} cannot be read: {error}; fetch it again') from error

    def __str__(self) -> str:
        return str(self.source)


def pair(
    images: Mapping[str, Any], labels: Mapping[str, Any], names: Iterable[str] | None
) -> list[str]:
    """List the names of a split, each of which must have an image and a label.

    Args:
        images: Name → image.
        labels: Name → label.
        names: Names of the split; None for all names.

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


def run_tasks(
    tasks: Sequence[Task],
    digests: dict[Path, str],
    nproc: int,
    title: str,
    heartbeat: Callable[[], None] = lambda: None,
) -> int:
    """Write the files that do not exist.

    Args:
        tasks: All files of a dataset.
        digests: Path of an archive → MD5 or SHA-256, which is compared before it is read.
        nproc: Number of processes.
        title: Title of the progress bar.
        heartbeat: Function called after each file.

    Returns:
        Number of written files.

    Raises:
        InputError: If an archive has another digest than published, or a file cannot be read. If
            a label map has unknown ids, all label maps of this call are removed.
    """
    todo = [task for task in tasks if not task.target.exists()]
    for path in sorted({task.source.archive for task in todo if task.source.archive}):
        if path in digests:
            _verify(path, digests[path])
    try:
        if todo:
            map_in_processes(Task.run, todo, nproc, 4, heartbeat, desc=title, unit='file')
    except UnknownIds:  # the others may look correct, but are wrong as well
        for task in todo:
            if task.convert:
                task.target.unlink(missing_ok=True)
        raise
    return len(todo)


def _verify(path: Path, digest: str) -> None:
    found = digest_of(path, digest)
    if found != digest:
        raise InputError(
            f'{path} has checksum {found}, published is {digest}: it is damaged, incomplete or '
            'another file; fetch it again'
        )
