"""The segmentation of an image, which is written and converted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from ..rasters.grid import Grid
from ..rasters.preview import HeldImage
from ..rasters.result import SegmentedMap, no_data_label
from ..utils.errors import InputError
from ..utils.files import make_folder
from ..visualization.painting import BACKGROUND
from .inputs import check_targets
from .outlines import trace
from .writers import ClassInfo, Item, MapItem, Record, build_writers, finish_all, write_all
from .writers.build import DEFAULT, Formats
from .writers.coco import CocoWriter, annotate, to_dataset


@dataclass
class Segmentation:
    """The segmentation of an image.

    Attributes:
        labels: Class of each pixel, int64 ``[H, W]``.
        scores: Score of each class, float32 ``[K, H, W]``, 0 to 1; None if
            ``test_cfg.seg_logits=False`` omits them.
        class_names: K names.
        palette: K RGB triples.
        label_ids: Ids of the classes in label files, K; None for 0 to K - 1.
        synonyms: Synonyms of each class, K; None if the name is the only one.
        image: The image, RGB, uint8 ``[H, W, 3]``; None if it is not kept.
        path: File of the image; None if it has none.
        grid: Georeference of a map; None for other images.
    """

    labels: np.ndarray
    scores: np.ndarray | None
    class_names: Sequence[str]
    palette: list[list[int]]
    label_ids: Sequence[int] | None = None
    synonyms: Sequence[Sequence[str]] | None = None
    image: np.ndarray | None = None
    path: str | None = None
    grid: Grid | None = None

    @property
    def counts(self) -> list[int]:
        """Number of pixels of each class, K."""
        count = len(self.class_names)
        return np.bincount(self.labels.ravel(), minlength=count)[:count].tolist()

    @property
    def pixels(self) -> dict[str, int]:
        """Number of pixels of each class."""
        return dict(zip(self.class_names, self.counts))

    @property
    def areas(self) -> dict[str, float]:
        """Share of the image that each class covers, 0 to 1; of a map, of its valid pixels."""
        total = sum(self.counts) or 1
        return {name: count / total for name, count in self.pixels.items()}

    @property
    def confidence(self) -> np.ndarray:
        """The highest class score of each pixel, float32 ``[H, W]``, 0 to 1.

        Raises:
            InputError: If the segmentation has no scores.
        """
        if self.scores is None:
            raise InputError(
                'this segmentation has no scores: remove test_cfg.seg_logits=False, or set it '
                'to True'
            )
        return self.scores.max(axis=0)

    def masks(self) -> dict[str, np.ndarray]:
        """Mask of each class that occurs, bool ``[H, W]``."""
        counts = self.counts
        return {n: self.labels == c for c, n in enumerate(self.class_names) if counts[c]}

    def polygons(self) -> dict[str, list[list[np.ndarray]]]:
        """Outlines of each class that occurs, except the background.

        Returns:
            Class name → connected parts. Each part is a list of the outline and its holes, float64
            ``[N, 2]`` of x and y along the edges of pixels, 0 to W and 0 to H, see
            :func:`.outlines.trace`.
        """
        return {each.name: trace(mask) for each, mask in self.painted()}

    def painted(self) -> Iterator[tuple[ClassInfo, np.ndarray]]:
        """Each class that occurs, except the background, and its mask, bool ``[H, W]``."""
        for number, (each, count) in enumerate(zip(self.classes, self.counts)):
            if count and each.name != BACKGROUND:
                yield each, self.labels == number

    def as_map(self) -> SegmentedMap:
        """The segmentation as that of a map; without a georeference, coordinates are pixels."""
        height, width = self.labels.shape
        grid, no_data = self.grid or Grid(width, height), no_data_label(len(self.class_names))
        labels = self.labels.astype(np.min_scalar_type(no_data))
        confidence = cache(lambda: self.confidence)
        return SegmentedMap(
            *(Path(self.path or 'picture'), grid, self.counts),
            lambda block: block.cut(labels),
            lambda block: block.cut(confidence()),
        )

    def to_coco(
        self, file_name: str = '', per: str = 'class', polygons: bool = False
    ) -> dict[str, list[dict]]:
        """Convert the segmentation to COCO's format.

        Args:
            file_name: Name of the image file.
            per, polygons: See :class:`.writers.coco.CocoWriter`.

        Returns:
            COCO's dict of images, annotations and categories.

        Raises:
            InputError: If pycocotools is missing.
        """
        writer = CocoWriter(per, polygons)
        record = Record('', file_name, self.labels.shape, self.counts)
        found = to_dataset([(record, annotate(self, writer.per, polygons))], self.classes)
        return {key: list(items) for key, items in found.items()}

    def save(
        self,
        out: str | Path = 'segmented',
        formats: Formats = DEFAULT,
        name: str | None = None,
        format_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the segmentation in the formats of :func:`.files.segment_files`.

        Args:
            out: Folder to write to. Existing results of the same name are replaced, and so are
                files of a whole run, such as ``classes.json`` and ``coco.json``.
            formats, format_options: See :func:`.writers.build_writers`.
            name: Beginning of the file names; None for the name of the image file, or
                ``'picture'`` if it has none.

        Raises:
            InputError: If an argument is invalid, the image is not kept, ``out`` cannot be written
                to, or a result would overwrite the image.
        """
        if self.image is None:
            raise InputError('this segmentation has no image: set its attribute image')
        writers = build_writers(formats, format_options)
        for writer in writers.values():
            writer.check(self.classes)
        path = Path(self.path or 'picture')
        place = path, PurePath(name or path.stem), Path(out)
        item: Item | MapItem = Item(*place, self.image, self)
        if self.grid is not None:
            item = MapItem(*place, HeldImage(self.image), self.as_map(), self.classes)
        check_targets([item.out / item.name], [path])
        make_folder(item.out, 'name another folder (out)')
        finish_all(writers, [write_all(writers, item)], self.classes, item.out)

    @property
    def classes(self) -> list[ClassInfo]:
        """The K classes, as they are written to files."""
        ids = self.label_ids or range(len(self.class_names))
        words = self.synonyms or [[name] for name in self.class_names]
        return list(map(ClassInfo, ids, self.class_names, words, self.palette))
