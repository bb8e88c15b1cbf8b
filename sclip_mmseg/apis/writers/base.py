"""The interface of writers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import numpy as np

from ...rasters.preview import HeldImage, read_reduced
from ...utils.files import open_atomically

if TYPE_CHECKING:
    from ...rasters.reading import Raster
    from ...rasters.result import SegmentedMap
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
class Place:
    """A picture's file, and where its results go.

    Attributes:
        path: Its file.
        name: What the names of its results begin with, relative to ``out``.
        out: Folder of all results.
        made: Names below ``out`` of the files that :meth:`file` gave.
        shared: What several writers need, once one has made it.
    """

    path: Path
    name: PurePath
    out: Path
    made: list[str] = field(default_factory=list, kw_only=True)
    shared: dict[Any, Any] = field(default_factory=dict, kw_only=True)

    def file(self, end: str, *folders: str) -> Path:
        """The file of a result, whose name ends so, in folders below ``out``; its folder exists.

        A run that is resumed makes the results again if it is missing.
        """
        path = Path(self.out, *folders, f'{self.name}{end}')
        path.parent.mkdir(parents=True, exist_ok=True)
        self.made.append(self.relative(path))
        return path

    def relative(self, path: Path) -> str:
        """A file below ``out`` as a record names it."""
        return path.relative_to(self.out).as_posix()


@dataclass(frozen=True)
class Item(Place):
    """A picture that was segmented.

    Attributes:
        image: RGB, uint8 ``[H, W, 3]``.
        result: What was found.
    """

    image: np.ndarray
    result: Segmentation


@dataclass(frozen=True)
class MapItem(Place):
    """A map that was segmented, of any size.

    Attributes:
        raster: The map.
        found: What was found.
        classes: K classes.
    """

    raster: Raster | HeldImage
    found: SegmentedMap
    classes: Sequence[ClassInfo]

    def as_picture(self, longest: int | None = None) -> Item:
        """The map in memory, reduced to so many pixels of the longer side if it is larger."""
        from ..segment import Segmentation

        image, labels = read_reduced(self.raster, self.found, longest)
        names, words, colors, ids = zip(
            *((each.name, each.synonyms, [*each.color], each.id) for each in self.classes)
        )
        result = Segmentation(labels, None, names, [*colors], ids, words, image)
        return Item(self.path, self.name, self.out, image, result, made=self.made)


@dataclass
class Record:
    """The record of a picture or video: JSON-able by ``dataclasses.asdict``.

    Attributes:
        file: Path as given.
        image: Path of the picture below the input folder, with ``/``, as formats name it.
        size: Height and width.
        pixels: Number of pixels of each class, K.
        data: Name of a writer → what its ``write`` gave.
        files: Names of its own files below the output folder.
    """

    file: str
    image: str
    size: Sequence[int]
    pixels: Sequence[int]
    data: dict[str, Any] = field(default_factory=dict)
    files: Sequence[str] = ()


@dataclass(frozen=True)
class Pairs:
    """The records of the pictures that a writer wrote, and what its ``write`` gave of each.

    Attributes:
        records: Records of all pictures and videos; may be iterated over several times.
        writer: Name of the writer.
    """

    records: Iterable[Record]
    writer: str

    def __iter__(self) -> Iterator[tuple[Record, Any]]:
        return ((x, x.data[self.writer]) for x in self.records if self.writer in x.data)


class Writer:
    """Writes segmentations in one format.

    A picture's files are written at once. Of formats that are a file per run, ``write`` gives a
    small record, which the run keeps, and ``finish`` makes the file of the records of all pictures:
    of all processes, and of runs that were interrupted before.

    Attributes:
        run_files: Names of the files of a run.
        needs_scores: Whether ``Segmentation.scores`` are needed.
        for_maps: Whether maps of any size are written block by block.
    """

    run_files: ClassVar[tuple[str, ...]] = ()
    needs_scores: ClassVar[bool] = False
    for_maps: ClassVar[bool] = False

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

    def write_map(self, item: MapItem) -> Any:
        """Write the files of a map, as :meth:`write`; formats of pictures read it into memory."""
        return self.write(item.as_picture())

    def finish(self, records: Pairs, classes: Sequence[ClassInfo], out: Path) -> None:
        """Write the files of a run.

        Args:
            records: The record of each picture written, and what ``write`` gave. They are
                read from the disk one by one, each time that they are iterated over.
            classes: K classes.
            out: Folder of all results.

        Raises:
            OSError: If they cannot be written.
        """


def write_table(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    r"""Write a CSV file, the bytes of names that are not UTF-8 as ``\udcXX``.

    Raises:
        InputError: If it cannot be written.
    """
    with open_atomically(path) as file:
        text = io.TextIOWrapper(file, 'utf-8', 'backslashreplace', newline='')
        csv.writer(text).writerows(rows)
        text.detach()


def write_items(file: BinaryIO, items: Iterable[Any]) -> None:
    """Write a JSON list, each item of which is made when it is written."""
    file.write(b'[')
    for number, item in enumerate(items):
        file.write((', ' * (number > 0) + json.dumps(item)).encode())
    file.write(b']')
