"""Official downloads as one searchable set of files: archives and extracted folders alike."""

import gzip
import os
import re
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Dict, List, Optional, Union

from ..utils.errors import InputError


@dataclass(frozen=True)
class Archive:
    """A file that a benchmark's authors publish.

    Attributes:
        name: Its file name.
        page: Web page to get it from.
        url: Where ``--download`` fetches it; None where it does not.
        login: Whether the page asks to log in.
        digest: Published MD5 or SHA-256 in hexadecimal digits; None where none is known.
    """

    name: str
    page: str
    url: Optional[str] = None
    digest: Optional[str] = None
    login: bool = False


class MissingRaw(InputError):
    """Neither an archive nor its extracted files are there.

    Attributes:
        archive: What is missing.
    """

    def __init__(self, archive: Archive, root: Path):
        self.archive = archive
        how = (
            ' (or run again with --download)'
            if archive.url
            else ' (log in there)'
            if archive.login
            else ''
        )
        super().__init__(
            f'{root} holds neither {archive.name} nor what is in it: get it from {archive.page}'
            f'{how}, or name its folder with --raw'
        )


@dataclass(frozen=True)
class FileEntry:
    """A file on its own."""

    path: Path

    @property
    def archive(self) -> None:
        """A file on its own is in no archive."""

    def read(self) -> bytes:
        """The file's content."""
        return self.path.read_bytes()

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class ZipEntry:
    """A file in a zip archive; its checksum is tested on reading."""

    archive: Path
    member: str

    def read(self) -> bytes:
        """The file's content."""
        return _open_zip(self.archive, os.getpid()).read(self.member)

    def __str__(self) -> str:
        return f'{self.archive}:{self.member}'


@dataclass(frozen=True)
class TarEntry:
    """A file in a tar archive, possibly gzipped, by its place in the tar stream."""

    archive: Path
    member: str
    offset: int
    size: int

    def read(self) -> bytes:
        """The file's content.

        Raises:
            EOFError: If the archive ends before it.
        """
        stream = _open_tar(self.archive, os.getpid())
        stream.seek(self.offset)
        content = stream.read(self.size)
        if len(content) < self.size:
            raise EOFError('the archive ends too early')
        return content

    def __str__(self) -> str:
        return f'{self.archive}:{self.member}'


@dataclass(frozen=True)
class TextEntry:
    """A text that is in no file yet."""

    text: str

    @property
    def archive(self) -> None:
        """The text is in no archive."""

    def read(self) -> bytes:
        """The text in UTF-8."""
        return self.text.encode()


Entry = Union[FileEntry, ZipEntry, TarEntry, TextEntry]
# What zipfile, tarfile and gzip raise on an archive that is cut off or damaged.
ARCHIVE_ERRORS = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile)


# By process, since processes that are forked from one another share a file's position.
@lru_cache(maxsize=4)
def _open_zip(path: Path, pid: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


@lru_cache(maxsize=4)
def _open_tar(path: Path, pid: int) -> BinaryIO:
    with open(path, 'rb') as file:
        gzipped = file.read(2) == b'\x1f\x8b'
    return gzip.open(path) if gzipped else open(path, 'rb')


class RawData:
    """All files below a folder, and in those of its archives that are asked for.

    Args:
        root: The folder. It is only read.

    Attributes:
        digests: Published digests of the archives that were searched, by path.

    Raises:
        InputError: If there is no such folder.
    """

    def __init__(self, root: Path):
        if not root.is_dir():
            raise InputError(
                f'folder {root} with the official files does not exist: put them there, or name '
                'another with --raw'
            )
        self.root = root
        # Preceded by the folder's own name, which may be the one that is looked for.
        above = root.resolve().parent
        self._files = {
            (root.resolve() / path).relative_to(above).as_posix(): FileEntry(root / path)
            for path in _walk(root)
        }
        self.digests: Dict[Path, str] = {}
        self._listed: Dict[Path, Dict[str, Entry]] = {}

    def find(self, pattern: str, archive: Archive) -> Dict[str, Entry]:
        """Find files, extracted or in an archive.

        Args:
            pattern: Regular expression of the end of a path, with one group.
            archive: Is searched where nothing is extracted.

        Returns:
            The files by what the group matched, sorted by path; none if there are none.

        Raises:
            InputError: If the archive cannot be read.
        """
        expression = re.compile(f'(?:^|/){pattern}$')
        found = _match(expression, self._files)
        if not found:
            for entry in self._archives(archive.name):
                found.update(_match(expression, self._list(entry.path)))
                if archive.digest:
                    self.digests[entry.path] = archive.digest
        return found

    def require(self, pattern: str, archive: Archive) -> Dict[str, Entry]:
        """Like :meth:`find`.

        Raises:
            MissingRaw: If nothing is found.
        """
        found = self.find(pattern, archive)
        if not found:
            raise MissingRaw(archive, self.root)
        return found

    def _archives(self, name: str) -> List[FileEntry]:
        return [e for path, e in sorted(self._files.items()) if path.rsplit('/', 1)[-1] == name]

    def _list(self, path: Path) -> Dict[str, Entry]:
        if path not in self._listed:
            try:
                self._listed[path] = list_archive(path)
            except ARCHIVE_ERRORS as error:
                raise InputError(
                    f'{path} is damaged or incomplete ({error}): fetch it again'
                ) from error
        return self._listed[path]


def list_archive(path: Path) -> Dict[str, Entry]:
    """The files in a zip or tar archive, by their path in it."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return {i.filename: ZipEntry(path, i.filename) for i in archive.infolist()}
    with tarfile.open(path) as archive:
        return {
            member.name: TarEntry(path, member.name, member.offset_data, member.size)
            for member in archive
            if member.isfile()
        }


def _walk(root: Path) -> List[Path]:
    """Paths of all files below a folder, relative to it; links are followed, once each."""
    files, seen = [], set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        files += [Path(folder, name).relative_to(root) for name in names]
    return files


def _match(expression: re.Pattern, entries: Dict[str, Entry]) -> Dict[str, Entry]:
    found: Dict[str, Entry] = {}
    for path in sorted(entries):
        if match := expression.search(path):
            found.setdefault(match.group(1), entries[path])
    return found
