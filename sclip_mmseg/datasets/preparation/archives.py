"""A common interface to files on disk, in zip archives and in tar archives."""

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ...utils.errors import InputError
from ...utils.file_kinds import DAMAGED

Opened = TypeVar('Opened')

_LARGEST = 1 << 30  # largest file in an archive in bytes; far more than any image needs


@dataclass(frozen=True)
class FileEntry:
    """A file on disk."""

    path: Path

    @property
    def archive(self) -> None:
        """None, since the file is not in an archive."""

    def read(self) -> bytes:
        """The file's content."""
        return self.path.read_bytes()

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class ZipEntry:
    """A file in a zip archive; its checksum is verified on reading."""

    archive: Path
    member: str

    def read(self) -> bytes:
        """The file's content.

        Raises:
            InputError: If it is too large.
        """
        archive = _open(self.archive, zipfile.ZipFile)
        _check_size(self, archive.getinfo(self.member).file_size)
        return archive.read(self.member)

    def __str__(self) -> str:
        return f'{self.archive}:{self.member}'


@dataclass(frozen=True)
class TarEntry:
    """A file in a tar archive, possibly gzipped, by its offset in the tar stream."""

    archive: Path
    member: str
    offset: int
    size: int

    def read(self) -> bytes:
        """The file's content.

        Raises:
            EOFError: If the archive is truncated.
            InputError: If it is too large.
        """
        _check_size(self, self.size)
        stream = _open(self.archive, _open_tar)
        stream.seek(self.offset)
        content = stream.read(self.size)
        if len(content) < self.size:
            raise EOFError('the archive ends too early')
        return content

    def __str__(self) -> str:
        return f'{self.archive}:{self.member}'


@dataclass(frozen=True)
class TextEntry:
    """A text that is not in a file."""

    text: str

    @property
    def archive(self) -> None:
        """None, since the text is not in an archive."""

    def read(self) -> bytes:
        """The text in UTF-8."""
        return self.text.encode()


Entry = FileEntry | ZipEntry | TarEntry | TextEntry
# Exceptions of zipfile, tarfile and gzip for a truncated, damaged or encrypted archive.
ARCHIVE_ERRORS = (*DAMAGED, tarfile.TarError)


def _check_size(entry: Entry, size: int) -> None:
    if size > _LARGEST:
        raise InputError(f'{entry} claims to have {size >> 30} GiB: fetch the archive again')


def read_text(entry: Entry) -> str:
    """Read a text file.

    Raises:
        InputError: If it cannot be read, or is not UTF-8 text.
    """
    try:
        return entry.read().decode()
    except InputError:
        raise
    except ARCHIVE_ERRORS as error:
        raise InputError(f'{entry} cannot be read: {error}; fetch it again') from error


# Keyed by process, since forked processes share the position of an open file.
_opened: dict[tuple[Path, int], Any] = {}


def _open(path: Path, opener: Callable[[Path], Opened]) -> Opened:
    key = path, os.getpid()
    if key not in _opened:
        _opened[key] = opener(path)
    return _opened[key]


def close_archives() -> None:
    """Close all archives from which entries were read."""
    while _opened:
        _opened.popitem()[1].close()


def _open_tar(path: Path) -> io.BufferedIOBase:
    with open(path, 'rb') as file:
        gzipped = file.read(2) == b'\x1f\x8b'
    return gzip.open(path) if gzipped else open(path, 'rb')


def list_archive(path: Path) -> dict[str, Entry]:
    """List the files in a zip or tar archive: path in the archive → entry."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return {i.filename: ZipEntry(path, i.filename) for i in archive.infolist()}
    with tarfile.open(path) as archive:
        return {
            member.name: TarEntry(path, member.name, member.offset_data, member.size)
            for member in archive
            if member.isfile()
        }
