"""The table of areas, which each run has."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...registry import WRITERS
from ...utils.files import write_atomically
from .base import ClassInfo, Record, Writer

AREAS = 'areas.csv'


@WRITERS.register_module('areas')
class AreasWriter(Writer):
    """Writes ``areas.csv``."""

    run_files = (AREAS,)

    def finish(
        self, records: Sequence[tuple[Record, Any]], classes: Sequence[ClassInfo], out: Path
    ) -> None:
        """See :class:`.base.Writer`."""
        text = io.StringIO(newline='')
        table = csv.writer(text)
        table.writerow(['file', 'class', 'pixels', 'share', 'id'])
        for record, _ in records:
            total = sum(record.pixels)
            for pixels, each in sorted(zip(record.pixels, classes), key=lambda pair: -pair[0]):
                share = f'{pixels / total:.6f}'
                table.writerow([record.file, each.name, pixels, share, each.id])
        # A name that is not UTF-8 is written with its bytes as \udcXX.
        write_atomically(out / AREAS, text.getvalue().encode(errors='backslashreplace'))
