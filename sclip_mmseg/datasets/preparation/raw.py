"""The official files of a benchmark, in archives or extracted, as one searchable set."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ...utils.errors import InputError
from ..benchmarks import Archive
from .archives import ARCHIVE_ERRORS, Entry, FileEntry, list_archive


class MissingRaw(InputError):
    """Neither an archive nor its extracted files exist.

    Attributes:
        archive: The missing archive.
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


class RawData:
    """All files below a folder, and in its archives.

    Args:
        root: The folder, which is not modified.

    Attributes:
        digests: Path of a searched archive → its published digest.

    Raises:
        InputError: If the folder does not exist.
    """

    def __init__(self, root: Path):
        if not root.is_dir():
            raise InputError(
                f'folder {root} with the official files does not exist: put them there, or name '
                'another with --raw'
            )
        self.root = root
        # Paths start with the name of the folder, since patterns may contain it.
        above = root.resolve().parent
        self._files = {
            (root.resolve() / path).relative_to(above).as_posix(): FileEntry(root / path)
            for path in _walk(root)
        }
        self.digests: dict[Path, str] = {}
        self._listed: dict[Path, dict[str, Entry]] = {}

    def find(self, pattern: str, archive: Archive) -> dict[str, Entry]:
        """Find files, extracted or in an archive.

        Args:
            pattern: Regular expression of the end of a path, with one group.
            archive: Archive to search if no extracted file matches.

        Returns:
            Match of the group → file, sorted by path; may be empty.

        Raises:
            InputError: If the archive cannot be read.
        """
        expression = re.compile(f'(?:^|/){pattern}$')
        found = _match(expression, self._files)
        if not found:
            for path, entry in sorted(self._files.items()):
                if path.rsplit('/', 1)[-1] == archive.name:
                    found.update(_match(expression, self._list(entry.path)))
                    if archive.digest:
                        self.digests[entry.path] = archive.digest
        return found

    def require(self, pattern: str, archive: Archive) -> dict[str, Entry]:
        """Find files like :meth:`find`, of which there must be some.

        Raises:
            MissingRaw: If no file is found.
        """
        found = self.find(pattern, archive)
        if not found:
            raise MissingRaw(archive, self.root)
        return found

    def _list(self, path: Path) -> dict[str, Entry]:
        if path not in self._listed:
            try:
                self._listed[path] = list_archive(path)
            except ARCHIVE_ERRORS as error:
                raise InputError(
                    f'{path} is damaged or incomplete ({error}): fetch it again'
                ) from error
        return self._listed[path]


def _walk(root: Path) -> list[Path]:
    """Relative paths of all files below a folder; each folder is visited once, also by links."""
    files, seen = [], set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        paths = (Path(folder, name) for name in names)
        files += [path.relative_to(root) for path in paths if path.is_file()]  # not a pipe
    return files


def _match(expression: re.Pattern, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for path in sorted(entries):
        if match := expression.search(path):
            found.setdefault(match.group(1), entries[path])
    return found
