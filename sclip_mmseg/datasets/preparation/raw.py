"""Official downloads as one searchable set of files: archives and extracted folders alike."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ...utils.errors import InputError
from ..benchmarks import Archive
from .archives import ARCHIVE_ERRORS, Entry, FileEntry, list_archive


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
        self.digests: dict[Path, str] = {}
        self._listed: dict[Path, dict[str, Entry]] = {}

    def find(self, pattern: str, archive: Archive) -> dict[str, Entry]:
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
            for path, entry in sorted(self._files.items()):
                if path.rsplit('/', 1)[-1] == archive.name:
                    found.update(_match(expression, self._list(entry.path)))
                    if archive.digest:
                        self.digests[entry.path] = archive.digest
        return found

    def require(self, pattern: str, archive: Archive) -> dict[str, Entry]:
        """Like :meth:`find`.

        Raises:
            MissingRaw: If nothing is found.
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
    """Paths of all files below a folder, relative to it; links are followed, once each."""
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
