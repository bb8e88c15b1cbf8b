"""Records of finished files, by which a run resumes and its shares are combined."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath

from ..evaluation.fingerprint import Fingerprint
from ..evaluation.store import Store, read_file
from .shares import STATE
from .writers import Record

RESTART = 'start again without --resume (resume) or in another --out (out)'


@dataclass
class _Known:
    """The part of a finished file's record that is kept in memory.

    Attributes:
        state: State of the input file, see :func:`state_of`.
        files: Names of its results below the output folder.
        record: The record, or the file of the store that contains it.
    """

    state: list[int]
    files: Sequence[str]
    record: Record | Path


class RunRecords:
    """Records of files by the names of their results.

    Args:
        out: The output folder.
        fingerprint: All settings that the records depend on; None to keep them only in memory.
    """

    def __init__(self, out: Path, fingerprint: Fingerprint | None):
        self._out, self._folder = out, out / STATE
        self._store = None if fingerprint is None else Store(self._folder, fingerprint, RESTART)
        self._known: dict[str, _Known] = {}

    def start_over(self) -> bool:
        """Remove the records of earlier runs; returns whether there were any."""
        paths = list(self._folder.glob('*.pt'))
        for path in paths:
            path.unlink(missing_ok=True)
        return bool(paths)

    def read(self) -> list[str]:
        """Read the records of this run, earlier ones and other shares.

        Returns:
            Messages for warnings.

        Raises:
            InputError: If they had other settings.
        """
        if self._store is None:
            return []
        warnings: dict[str, None] = {}
        for path, found in self._store.each(warnings):
            for name, known in found.items():
                files = known['record'].get('files', ())
                self._known[name] = _Known(known['state'], files, path)
        return list(warnings)

    def is_done(self, path: Path, name: PurePath) -> bool:
        """Whether a file is done, has not changed since, and its results exist."""
        known = self._known.get(str(name))
        if known is None or known.state != state_of(path):
            return False
        return all((self._out / file).exists() for file in known.files)

    def add(self, path: Path, name: PurePath, record: Record) -> None:
        """Add the record of a finished file."""
        state = state_of(path)
        kept: Record | Path = record
        if self._store is not None:
            stored = {str(name): dict(state=state, record=asdict(record))}
            kept = self._store.append(stored)
        self._known[str(name)] = _Known(state, record.files, kept)

    def in_order(self, names: Iterable[PurePath]) -> Iterable[Record]:
        """All records: those of the named files, in order, and then the others."""
        order = dict.fromkeys([*map(str, names), *sorted(self._known)])
        return _InOrder({name: self._known[name].record for name in order if name in self._known})


@dataclass(frozen=True)
class _InOrder:
    """Records by name, read from disk one by one during iteration."""

    places: dict[str, Record | Path]

    def __iter__(self) -> Iterator[Record]:
        for name, place in self.places.items():
            if isinstance(place, Path):
                place = Record(**read_file(place)[1][name]['record'])
            yield place


def state_of(path: Path) -> list[int]:
    """Size and modification time of a file, which change with it; empty if it does not exist."""
    with suppress(OSError):
        found = path.stat()
        return [found.st_size, found.st_mtime_ns]
    return []
