"""What a writer is told, and what it gives back."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...utils.files import write_atomically

if TYPE_CHECKING:
    from ..segment import Segmentation


@dataclass(frozen=True)
class ClassInfo:
    """A class, as files name it.

    Attributes:
        id: In label maps.
        name: Its name.
        synonyms: Words that stand for it, its name among them; empty for a background without any.
        color: RGB, 0 to 255.
    """

    id: int
    name: str
    synonyms: Sequence[str]
    color: Sequence[int]


@dataclass(frozen=True)
class Item:
    """A picture that was segmented, and where its results go.

    Attributes:
        path: Its file.
        name: What the names of its results begin with, relative to ``out``.
        out: Folder of all results.
        image: RGB, uint8 ``[H, W, 3]``.
        result: What was found.
    """

    path: Path
    name: PurePath
    out: Path
    image: np.ndarray
    result: Segmentation

    def file(self, end: str) -> Path:
        """The file of a result whose name ends so; its folder exists."""
        path = Path(f'{self.out / self.name}{end}')
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def relative(self, path: Path) -> str:
        """A file below ``out`` as a record names it."""
        return path.relative_to(self.out).as_posix()


@dataclass
class Record:
    """What a run keeps of a picture or video: JSON-able by ``dataclasses.asdict``.

    Attributes:
        file: Path as given.
        image: Path of the picture below the input folder, with ``/``, as formats name it.
        size: Height and width.
        pixels: Number of pixels of each class, K.
        data: Name of a writer → what its ``write`` gave.
    """

    file: str
    image: str
    size: Sequence[int]
    pixels: Sequence[int]
    data: dict[str, Any] = field(default_factory=dict)


class Writer:
    """Writes segmentations in one format.

    A picture's files are written at once. Of formats that are a file per run, ``write`` gives a
    small record, which the run keeps, and ``finish`` makes the file of the records of all pictures:
    of all processes, and of runs that were interrupted before.

    Attributes:
        run_files: Names of the files of a run.
        needs_scores: Whether ``Segmentation.scores`` are needed.
    """

    run_files: ClassVar[tuple[str, ...]] = ()
    needs_scores: ClassVar[bool] = False

    def check(self, classes: Sequence[ClassInfo]) -> None:
        """See that the format can hold the classes.

        Raises:
            InputError: If it cannot.
        """

    def write(self, item: Item) -> Any:
        """Write the files of a picture.

        Returns:
            What ``finish`` needs, JSON-able; None for nothing.

        Raises:
            OSError: If they cannot be written.
        """

    def finish(
        self, records: Sequence[tuple[Record, Any]], classes: Sequence[ClassInfo], out: Path
    ) -> None:
        """Write the files of a run.

        Args:
            records: Of each picture that was written, its record, and what ``write`` gave.
            classes: K classes.
            out: Folder of all results.

        Raises:
            OSError: If they cannot be written.
        """


def write_table(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    r"""Write a CSV file, the bytes of names that are not UTF-8 as ``\udcXX``.

    Raises:
        OSError: If it cannot be written.
    """
    text = io.StringIO(newline='')
    csv.writer(text).writerows(rows)
    write_atomically(path, text.getvalue().encode(errors='backslashreplace'))
