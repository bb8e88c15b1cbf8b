"""Confidence of the classes, to review the least certain images first."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ...rasters.grid import Block
from ...rasters.labels import write_raster
from ...registry import WRITERS
from ...utils.errors import InputError
from ...utils.files import replacing
from ..inputs import CONFIDENCE
from .base import ClassInfo, Item, MapItem, Pairs, Writer, write_table

TABLE = 'confidence.csv'


@WRITERS.register_module('confidence')
class ConfidenceWriter(Writer):
    """Writes ``NAME_confidence.png``, the highest class score of each pixel, and a table.

    For maps it is ``NAME_confidence.tif``, where 0 means no data. ``confidence.csv`` lists the mean
    and the share of pixels below a threshold, the least certain image first.

    Args:
        threshold: Score below which pixels are counted, 0 to 1.

    Raises:
        InputError: If the threshold is invalid.
    """

    run_files = (TABLE,)
    needs_scores = True
    for_maps = True

    def __init__(self, threshold: float = 0.5) -> None:
        number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
        if not number or not 0 <= threshold <= 1:
            raise InputError(f'format confidence: threshold={threshold!r} must be from 0 to 1')
        self.threshold = threshold

    def write(self, item: Item) -> list[float]:
        """See :class:`.base.Writer`; returns the mean, and the share below the threshold."""
        confidence = item.result.confidence
        image = Image.fromarray((confidence * 255).round().astype(np.uint8))
        image.save(item.file(f'{CONFIDENCE}.png'))
        return [float(confidence.mean()), float((confidence < self.threshold).mean())]

    def write_map(self, item: MapItem) -> list[float]:
        """See :class:`.base.Writer`; returns the values of :meth:`write`, of the valid pixels."""
        found, sums = item.found, np.zeros(3)
        assert found.confidence is not None  # by needs_scores
        scores = found.confidence

        def read(block: Block) -> np.ndarray:
            confidence, labels = scores(block), found.labels(block)
            inside = confidence[labels != found.no_data]
            sums[:] += len(inside), inside.sum(dtype=np.float64), (inside < self.threshold).sum()
            values = (confidence * 255).round().clip(1, 255).astype(np.uint8)
            return np.where(labels == found.no_data, np.uint8(0), values)

        path = item.file(f'{CONFIDENCE}.tif')
        with replacing(path) as part:
            write_raster(part, found.grid, read, no_data=0)
        return (sums[1:] / max(sums[0], 1)).tolist()

    def finish(self, records: Pairs, classes: Sequence[ClassInfo], out: Path) -> None:
        """See :class:`.base.Writer`."""
        found = sorted(((r.file, *values) for r, values in records), key=lambda row: -row[2])
        rows = [(file, f'{mean:.6f}', f'{share:.6f}') for file, mean, share in found]
        write_table(out / TABLE, [('file', 'mean', f'share below {self.threshold:g}'), *rows])
