"""Records of images, which the processes of an unfinished evaluation append to a folder."""

import io
import json
import os
import pickle
import shutil
import time
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..utils.errors import InputError, first_line, join_first
from ..utils.files import write_atomically
from .fingerprint import Fingerprint, list_changes

FOLDER = 'partial_results'
Records = dict[Any, Any]
"""Index of an image in the dataset, or another key of it → what is known of it: tensors, numbers
and text, in dicts, lists and tuples."""
# What torch.load raises on files that are damaged or hold other objects.
_UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError),
    *(pickle.UnpicklingError, zipfile.BadZipFile),
)


class NotStorable(Exception):
    """A record holds something else than :data:`Records` may."""


def read_file(path: Path) -> tuple[Fingerprint, Records]:
    """Read one of the files of a store."""
    content = torch.load(path, map_location='cpu', weights_only=True)
    return json.loads(content['fingerprint']), dict(content['records'])


class Store:
    """Files of a folder, each of which is written once, as a whole or not at all.

    Any number of processes, of any number of runs, may append at the same time. What has the same
    fingerprint is one evaluation.

    Args:
        folder: Made by the first :meth:`append`.
        fingerprint: What the records depend on.
        restart: What a user may do instead of continuing from other records.
    """

    def __init__(self, folder: Path, fingerprint: Fingerprint, restart: str):
        self.folder = folder
        self.fingerprint = fingerprint
        self.restart = restart

    def read(self) -> tuple[Records, list[str]]:
        """Read all records; of an image with several, the latest.

        Returns:
            The records, and sentences to warn of: what may have changed last digits, and files
            that are damaged and left out.

        Raises:
            InputError: If there are records of another evaluation.
        """
        records: Records = {}
        warnings: dict[str, None] = {}
        for _, found in self.each(warnings):
            records.update(found)
        return records, list(warnings)

    def each(self, warnings: dict[str, None]) -> Iterator[tuple[Path, Records]]:
        """Read one file after the other; arguments and errors as :meth:`read`.

        Args:
            warnings: Gets the sentences to warn of as its keys.

        Yields:
            A file and its records, the earliest file first.
        """
        old = next((path for kind in ('*.npz', '*/*.npz') for path in self.folder.glob(kind)), None)
        if old is not None:
            raise InputError(f'{old} is of an earlier sclip_mmseg: {self.restart}')
        for path in sorted(self.folder.glob('*.pt')):
            try:
                fingerprint, found = read_file(path)
            except _UNREADABLE as error:
                reason = first_line(error)
                warnings[f'{path} is damaged ({reason}): its images are evaluated again'] = None
                continue
            warnings.update(dict.fromkeys(self.check(fingerprint)))
            yield path, found

    def check(self, fingerprint: Fingerprint) -> list[str]:
        """Compare another fingerprint with this one.

        Returns:
            What may have changed last digits: sentences.

        Raises:
            InputError: If it is of another evaluation.
        """
        changes, rounding = list_changes(fingerprint, self.fingerprint)
        if changes:
            raise InputError(
                f'cannot resume from {self.folder.parent}, {join_first(changes)}: {self.restart}'
            )
        return [f'{self.folder.parent}: {change}; last digits may differ' for change in rounding]

    def append(self, records: Records) -> Path:
        """Write records, in a file of their own.

        Returns:
            The file.

        Raises:
            NotStorable: If a record could not be read again.
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
        """Move what there is to another folder.

        Returns:
            The folder; None where there was nothing.
        """
        if not self.folder.is_dir():
            return None
        aside = self.folder.with_name(f'{self.folder.name}_{timestamp}')
        os.replace(self.folder, aside)
        return aside

    def remove(self) -> None:
        """Remove all files."""
        shutil.rmtree(self.folder, ignore_errors=True)
