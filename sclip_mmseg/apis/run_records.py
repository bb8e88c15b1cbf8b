"""What a run knows of the files that are done: what resumes it, and what joins its shares."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

from ..evaluation.fingerprint import Fingerprint
from ..evaluation.store import Store
from .shares import STATE
from .writers import Record

_RESTART = 'start afresh without --resume (resume) or in another --out (out)'


class RunRecords:
    """Records of files by the names of their results.

    Args:
        out: The output folder.
        fingerprint: What the records depend on; None to keep them in memory alone.
    """

    def __init__(self, out: Path, fingerprint: Fingerprint | None):
        self._folder = out / STATE
        self._store = None if fingerprint is None else Store(self._folder, fingerprint, _RESTART)
        self._known: dict[str, Any] = {}

    def start_afresh(self) -> bool:
        """Forget what earlier runs did; whether there was any."""
        paths = list(self._folder.glob('*.pt'))
        for path in paths:
            path.unlink(missing_ok=True)
        return bool(paths)

    def read(self) -> list[str]:
        """Read what this run, earlier ones and other shares did.

        Returns:
            Sentences to warn of.

        Raises:
            InputError: If they had other settings.
        """
        if self._store is None:
            return []
        found, warnings = self._store.read()
        self._known.update(found)
        return warnings

    def is_done(self, path: Path, name: PurePath) -> bool:
        """Whether a file is done, and has not changed since."""
        found = self._known.get(str(name))
        return found is not None and found['state'] == _state_of(path)

    def add(self, path: Path, name: PurePath, record: Record) -> None:
        """Note that a file is done."""
        known = {str(name): dict(state=_state_of(path), record=asdict(record))}
        self._known.update(known)
        if self._store is not None:
            self._store.append(known)

    def in_order(self, names: Iterable[PurePath]) -> list[Record]:
        """All records: those of the files named, in order, and then others'."""
        order = dict.fromkeys([*map(str, names), *sorted(self._known)])
        return [Record(**self._known[name]['record']) for name in order if name in self._known]


def _state_of(path: Path) -> list[int]:
    """What changes when a file does."""
    with suppress(OSError):
        found = path.stat()
        return [found.st_size, found.st_mtime_ns]
    return []
