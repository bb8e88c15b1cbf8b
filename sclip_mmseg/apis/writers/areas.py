"""The table of areas, which each run has."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...registry import WRITERS
from .base import ClassInfo, Record, Writer, write_table

AREAS = 'areas.csv'


@WRITERS.register_module('areas')
class AreasWriter(Writer):
    """Writes ``areas.csv``."""

    run_files = (AREAS,)

    def finish(
        self, records: Sequence[tuple[Record, Any]], classes: Sequence[ClassInfo], out: Path
    ) -> None:
        """See :class:`.base.Writer`."""
        rows: list[Sequence[Any]] = [['file', 'class', 'pixels', 'share', 'id']]
        for record, _ in records:
            total = sum(record.pixels)
            for pixels, each in sorted(zip(record.pixels, classes), key=lambda pair: -pair[0]):
                share = f'{pixels / total:.6f}'
                rows.append([record.file, each.name, pixels, share, each.id])
        write_table(out / AREAS, rows)
