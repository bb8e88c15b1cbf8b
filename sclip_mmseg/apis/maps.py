"""Maps of a run, whose blocks are segmented by one or several processes and then combined."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

import numpy as np

from ..evaluation.fingerprint import Fingerprint
from ..evaluation.store import Store
from ..models import CLIPSegmentor
from ..models.image_encoder import PRECISIONS
from ..models.progress import watch_progress
from ..rasters.grid import Block
from ..rasters.reading import Raster
from ..rasters.result import SegmentedMap, no_data_label
from .blocks import ROWS, BlockSegmenter, WholeSegmenter, reason_for_whole
from .run_records import RESTART, state_of
from .shares import STATE
from .shrinking import progress_reporter, warn_if_shrunk

Say = Callable[[str], None]


@dataclass
class MapRun:
    """The segmentation of a map, and the blocks that are done.

    Until all blocks are done, labels are kept in a sparse file as class + 1, so that its holes,
    which read as 0, mean no data.

    Attributes:
        raster: The map.
        model: The segmentor.
        folder: Folder of intermediate results.
        fingerprint: All settings that the results depend on.
        with_confidence: Whether scores are kept, too.
    """

    raster: Raster
    model: CLIPSegmentor
    folder: Path
    fingerprint: Fingerprint
    with_confidence: bool

    def __post_init__(self) -> None:
        self.no_data = no_data_label(self.model.num_classes)
        self.size = self.raster.grid.height, self.raster.grid.width
        step = self.size[0] if reason_for_whole(self.model) else ROWS
        self.blocks = [
            slice(top, min(top + step, self.size[0])) for top in range(0, self.size[0], step)
        ]
        self._dtype = np.min_scalar_type(self.no_data)
        path = Path(self.raster.path)
        own = dict(stretch=self.raster.stretch, bands=self.raster.bands, state=state_of(path))
        known = {f'map.{key}': value and [*value] for key, value in own.items()}
        self._store = Store(self.folder, {**self.fingerprint, **known}, RESTART)

    def describe(self, say: Say) -> None:
        """Report choices made for this map: the stretch of its values, and why it is read whole."""
        name, stretch = self.raster.path, self.raster.stretch
        if stretch is not None:
            how = self.raster.stretch_words
            say(f'{name}: values from {stretch[0]:g} to {stretch[1]:g} become 0 to 255{how}')
        if why := reason_for_whole(self.model):
            say(f'{name} is segmented as one image, not block by block: {why}')

    def todo(self, resume: bool) -> list[int]:
        """Numbers of the blocks that remain to be segmented.

        Args:
            resume: Whether to keep blocks of an earlier run.

        Raises:
            InputError: If the earlier run had other settings.
        """
        done = self._counts() if resume else {}
        sizes = {path: math.prod(self.size) * kind.itemsize for path, kind in self._files.items()}
        if not all(path.is_file() and path.stat().st_size == n for path, n in sizes.items()):
            done = {}  # their files are missing: a run was killed while it removed them
        if not done:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
        for path, size in sizes.items():
            with path.open('ab') as file:
                file.truncate(size)
        return [number for number in range(len(self.blocks)) if number not in done]

    @property
    def _files(self) -> dict[Path, np.dtype]:
        files = {self.folder / 'labels': self._dtype}
        if self.with_confidence:
            files[self.folder / 'confidence'] = np.dtype(np.float16)
        return files

    def _counts(self) -> dict[int, list[int]]:
        """Number of the block → pixels of each class, for the blocks that are done."""
        return {number: record['counts'] for number, record in self._store.read()[0].items()}

    @cached_property
    def _segmenter(self) -> BlockSegmenter | WholeSegmenter:
        kind = WholeSegmenter if reason_for_whole(self.model) else BlockSegmenter
        return kind(self.model, self.raster, self.with_confidence)

    def run(self, numbers: Sequence[int], say: Say = lambda text: None) -> None:
        """Segment some blocks.

        Raises:
            InputError: If the map is damaged or too small.
            OSError: If the disk is full.
        """
        name = str(self.raster.path)
        with (
            warn_if_shrunk(self.model, self.size, name),
            watch_progress(progress_reporter(name, say)),
        ):
            for number in numbers:
                rows = self.blocks[number]
                labels, confidence = self._segmenter.segment(rows)
                found = labels[labels != self.no_data]
                if found.size:
                    parts = [labels + self._dtype.type(1), confidence]
                    for (path, _), part in zip(self._files.items(), parts):
                        self._write(path, rows, part)
                counts = np.bincount(found, minlength=self.model.num_classes).tolist()
                self._store.append({number: dict(counts=counts)})

    def _write(self, path: Path, rows: slice, values: np.ndarray | None) -> None:
        assert values is not None
        with path.open('r+b') as file:
            file.seek(rows.start * self.size[1] * values.itemsize)
            file.write(np.ascontiguousarray(values).data)

    def result(self) -> SegmentedMap:
        """The result, once all blocks are done."""
        total = np.sum([[0] * self.model.num_classes, *self._counts().values()], 0).tolist()
        path = Path(self.raster.path)
        confidence = self._confidence if self.with_confidence else None
        return SegmentedMap(path, self.raster.grid, total, self._labels, confidence)

    def _labels(self, block: Block) -> np.ndarray:
        return self._read(self.folder / 'labels', block) - self._dtype.type(1)

    def _confidence(self, block: Block) -> np.ndarray:
        return self._read(self.folder / 'confidence', block).astype(np.float32)

    def _read(self, path: Path, block: Block) -> np.ndarray:
        # Opened for each block, since mapped pages count as memory of the process.
        whole = np.memmap(path, self._files[path], 'r', shape=self.size)
        return np.array(whole[block.top : block.bottom, block.left : block.right])


def map_folder(out: Path, name: PurePath, precision: str) -> Path:
    """Folder of the intermediate results of a map."""
    return out / STATE / 'maps' / f'{name}.{precision}'


def remove_blocks(out: Path, name: PurePath) -> None:
    """Remove the intermediate results of a map, in all precisions."""
    for precision in PRECISIONS:
        shutil.rmtree(map_folder(out, name, precision), ignore_errors=True)
