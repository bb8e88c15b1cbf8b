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

from ...old_names import OldAttribute
from ...rasters.preview import HeldImage, read_reduced
from ...utils.files import open_atomically

if TYPE_CHECKING:
    from ...rasters.reading import Raster
    from ...rasters.result import SegmentedMap
    from ..segmentation import Segmentation


@dataclass(frozen=True)
class ClassInfo:
    """A class, as it is written to files.

    Attributes:
        id: Id in label maps.
        name: Name of the class.
        synonyms: Synonyms, including the name; empty for a background without words.
        color: RGB, 0 to 255.
    """

    id: int
    name: str
    synonyms: Sequence[str]
    color: Sequence[int]


@dataclass(frozen=True)
class Place:
    """An image file, and the location of its results.

    Attributes:
        path: The image file.
        name: Beginning of the names of its results, relative to ``out``.
        out: Folder of all results.
        made: Names below ``out`` of the files that :meth:`file` returned.
        shared: Cache of values that several writers need.
    """

    path: Path
    name: PurePath
    out: Path
    made: list[str] = field(default_factory=list, kw_only=True)
    shared: dict[Any, Any] = field(default_factory=dict, kw_only=True)

    def file(self, end: str, *folders: str) -> Path:
        """Path of a result file, whose folder is created.

        A resumed run writes the results again if the file is missing.

        Args:
            end: End of the file's name.
            folders: Folders below ``out``.
        """
        path = Path(self.out, *folders, f'{self.name}{end}')
        path.parent.mkdir(parents=True, exist_ok=True)
        self.made.append(self.relative(path))
        return path

    def relative(self, path: Path) -> str:
        """Path relative to ``out``, as it is stored in records."""
        return path.relative_to(self.out).as_posix()


@dataclass(frozen=True)
class Item(Place):
    """A segmented image.

    Attributes:
        image: RGB, uint8 ``[H, W, 3]``.
        result: The segmentation.
    """

    image: np.ndarray
    result: Segmentation


@dataclass(frozen=True)
class MapItem(Place):
    """A segmented map of any size.

    Attributes:
        raster: The map.
        found: The segmentation.
        classes: The K classes.
    """

    raster: Raster | HeldImage
    found: SegmentedMap
    classes: Sequence[ClassInfo]

    def as_image(self, longest: int | None = None) -> Item:
        """The map in memory, as an image.

        Args:
            longest: Pixels of the longer side to which larger maps are reduced; None for no limit.
        """
        from ..segmentation import Segmentation

        image, labels = read_reduced(self.raster, self.found, longest)
        names, words, colors, ids = zip(
            *((each.name, each.synonyms, [*each.color], each.id) for each in self.classes)
        )
        result = Segmentation(labels, None, names, [*colors], ids, words, image)
        return Item(self.path, self.name, self.out, image, result, made=self.made)

    as_picture = OldAttribute('as_image')


@dataclass
class Record:
    """The record of an image or video; ``dataclasses.asdict`` makes it JSON-serialisable.

    Attributes:
        file: Path as given.
        image: Path of the image below the input folder, with ``/``, as it is written to files.
        size: Height and width.
        pixels: Number of pixels of each class, K.
        data: Name of a writer → return value of its ``write``.
        files: Names of the image's own result files below the output folder.
    """

    file: str
    image: str
    size: Sequence[int]
    pixels: Sequence[int]
    data: dict[str, Any] = field(default_factory=dict)
    files: Sequence[str] = ()


@dataclass(frozen=True)
class Pairs:
    """The records of the images that a writer wrote, with the return values of its ``write``.

    Attributes:
        records: Records of all images and videos; can be iterated over several times.
        writer: Name of the writer.
    """

    records: Iterable[Record]
    writer: str

    def __iter__(self) -> Iterator[tuple[Record, Any]]:
        return ((x, x.data[self.writer]) for x in self.records if self.writer in x.data)


class Writer:
    """Writes segmentations in one format.

    Files per image are written by ``write``. For formats with one file per run, ``write`` returns
    a small record, which the run keeps, and ``finish`` writes the file from the records of all
    images, including those of other processes and of earlier, interrupted runs.

    Attributes:
        run_files: Names of the files per run.
        needs_scores: Whether ``Segmentation.scores`` are needed.
        for_maps: Whether maps of any size can be written block by block.
    """

    run_files: ClassVar[tuple[str, ...]] = ()
    needs_scores: ClassVar[bool] = False
    for_maps: ClassVar[bool] = False

    def check(self, classes: Sequence[ClassInfo]) -> None:
        """Check that the format can represent the classes.

        Raises:
            InputError: If it cannot.
        """

    def write(self, item: Item) -> Any:
        """Write the files of an image.

        Returns:
            A JSON-serialisable value for ``finish``; None if it needs none.

        Raises:
            OSError: If the files cannot be written.
        """

    def write_map(self, item: MapItem) -> Any:
        """Write the files of a map, see :meth:`write`; by default the map is read into memory."""
        return self.write(item.as_image())

    def finish(self, records: Pairs, classes: Sequence[ClassInfo], out: Path) -> None:
        """Write the files of a run.

        Args:
            records: Record of each image, and the return value of ``write``. Each iteration
                reads them from disk one by one.
            classes: The K classes.
            out: Folder of all results.

        Raises:
            OSError: If the files cannot be written.
        """


def write_table(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    r"""Write a CSV file, with the bytes of names that are not UTF-8 as ``\udcXX``.

    Raises:
        InputError: If the file cannot be written.
    """
    with open_atomically(path) as file:
        text = io.TextIOWrapper(file, 'utf-8', 'backslashreplace', newline='')
        csv.writer(text).writerows(rows)
        text.detach()


def write_items(file: BinaryIO, items: Iterable[Any]) -> None:
    """Write a JSON list from an iterable, without keeping the items in memory."""
    file.write(b'[')
    for number, item in enumerate(items):
        file.write((', ' * (number > 0) + json.dumps(item)).encode())
    file.write(b']')
