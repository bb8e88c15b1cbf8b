"""How sure the classes are, to look at the doubtful pictures first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...registry import WRITERS
from ...utils.errors import InputError
from ..inputs import CONFIDENCE
from .base import ClassInfo, Item, Record, Writer, write_table

TABLE = 'confidence.csv'


@WRITERS.register_module('confidence')
class ConfidenceWriter(Writer):
    """Writes ``NAME_confidence.png``, the largest class score of each pixel, and a table of them.

    ``confidence.csv`` has the mean and the share of pixels below a threshold, the most doubtful
    picture first.

    Args:
        threshold: 0 to 1.

    Raises:
        InputError: If the threshold is another value.
    """

    run_files = (TABLE,)
    needs_scores = True

    def __init__(self, threshold: float = 0.5) -> None:
        if not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
            raise InputError(f'format confidence: threshold={threshold!r} must be from 0 to 1')
        self.threshold = threshold

    def write(self, item: Item) -> list[float]:
        """See :class:`.base.Writer`; gives the mean, and the share below the threshold."""
        confidence = item.result.confidence
        image = Image.fromarray((confidence * 255).round().astype(np.uint8))
        image.save(item.file(f'{CONFIDENCE}.png'))
        return [float(confidence.mean()), float((confidence < self.threshold).mean())]

    def finish(
        self, records: Sequence[tuple[Record, Any]], classes: Sequence[ClassInfo], out: Path
    ) -> None:
        """See :class:`.base.Writer`."""
        rows = [['file', 'mean', f'share below {self.threshold:g}']]
        for record, (mean, share) in sorted(records, key=lambda pair: -pair[1][1]):
            rows.append([record.file, f'{mean:.6f}', f'{share:.6f}'])
        write_table(out / TABLE, rows)
