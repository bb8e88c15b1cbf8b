"""Records of images, which the processes of an unfinished evaluation append to a folder."""

import io
import json
import os
import pickle
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..utils.errors import InputError, first_line, join_first
from ..utils.file_kinds import DAMAGED
from ..utils.files import write_atomically
from .fingerprint import Fingerprint, list_changes

FOLDER = 'partial_results'
Records = dict[Any, Any]
"""Index of an image in the dataset, or another key → its record: tensors, numbers and text, in
dicts, lists and tuples."""


class NotStorable(Exception):
    """A record has a value that :data:`Records` may not contain."""


def read_file(path: Path) -> tuple[Fingerprint, Records]:
    """Read a file of a store."""
    content = torch.load(path, map_location='cpu', weights_only=True)
    return json.loads(content['fingerprint']), dict(content['records'])


class Store:
    """A folder of files, each written once and atomically.

    Any number of processes and runs may append at the same time. Records with the same fingerprint
    belong to the same evaluation.

    Args:
        folder: Folder of the files, created by the first :meth:`append`.
        fingerprint: Fingerprint of the evaluation.
        restart: Advice in the error message if existing records cannot be used.
    """

    def __init__(self, folder: Path, fingerprint: Fingerprint, restart: str):
        self.folder = folder
        self.fingerprint = fingerprint
        self.restart = restart

    def read(self) -> tuple[Records, list[str]]:
        """Read all records; the latest of an image counts.

        Returns:
            The records, and warnings: about changes of the last digits, and about damaged files,
            which are skipped.

        Raises:
            InputError: If there are records of another evaluation.
        """
        records: Records = {}
        warnings: dict[str, None] = {}
        for _, found in self.each(warnings):
            records.update(found)
        return records, list(warnings)

    def each(self, warnings: dict[str, None]) -> Iterator[tuple[Path, Records]]:
        """Read one file after the other; raises the errors of :meth:`read`.

        Args:
            warnings: Dict to which warnings are added as keys.

        Yields:
            A file and its records, the earliest file first.
        """
        old = next((path for kind in ('*.npz', '*/*.npz') for path in self.folder.glob(kind)), None)
        if old is not None:
            raise InputError(f'{old} was written by an earlier version: {self.restart}')
        for path in sorted(self.folder.glob('*.pt')):
            try:
                fingerprint, found = read_file(path)
            except DAMAGED as error:
                reason = first_line(error)
                warnings[f'{path} is damaged ({reason}): its images are evaluated again'] = None
                continue
            warnings.update(dict.fromkeys(self.check(fingerprint)))
            yield path, found

    def check(self, fingerprint: Fingerprint) -> list[str]:
        """Compare another fingerprint with this one.

        Returns:
            Warnings about changes of the last digits.

        Raises:
            InputError: If it belongs to another evaluation.
        """
        changes, rounding = list_changes(fingerprint, self.fingerprint)
        if changes:
            raise InputError(
                f'cannot resume from {self.folder.parent}, {join_first(changes)}: {self.restart}'
            )
        return [f'{self.folder.parent}: {change}; last digits may differ' for change in rounding]

    def append(self, records: Records) -> Path:
        """Write records to a new file.

        Returns:
            Path of the file.

        Raises:
            NotStorable: If a record cannot be read back.
            InputError: If the file cannot be written.
        """
        content, text = io.BytesIO(), json.dumps(self.fingerprint)
        try:
            torch.save(dict(fingerprint=text, records=records), content)
            content.seek(0)
            torch.load(content, weights_only=True)
        except (pickle.PicklingError, pickle.UnpicklingError, TypeError, AttributeError) as error:
            raise NotStorable(first_line(error)) from error
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f'{time.time_ns():020}_{uuid.uuid4().hex[:8]}.pt'
        write_atomically(path, content.getvalue())
        return path

    def set_aside(self, timestamp: str) -> Path | None:
        """Rename the folder.

        Returns:
            The new folder; None if there was none.
        """
        if not self.folder.is_dir():
            return None
        aside = self.folder.with_name(f'{self.folder.name}_{timestamp}')
        os.replace(self.folder, aside)
        return aside

    def remove(self) -> None:
        """Remove all files."""
        shutil.rmtree(self.folder, ignore_errors=True)
