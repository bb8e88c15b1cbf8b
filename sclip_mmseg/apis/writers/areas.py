"""The table of areas, which every run writes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...rasters.ground import Ground
from ...registry import WRITERS
from .base import ClassInfo, MapItem, Pairs, Writer, write_table

AREAS = 'areas.csv'


@WRITERS.register_module('areas')
class AreasWriter(Writer):
    """Writes ``areas.csv``."""

    run_files = (AREAS,)
    for_maps = True

    def write_map(self, item: MapItem) -> list[float] | None:
        """See :class:`.base.Writer`; returns square metres of each class, if they are known."""
        return Ground(item.found.grid).class_areas(item.found)

    def finish(self, records: Pairs, classes: Sequence[ClassInfo], out: Path) -> None:
        """See :class:`.base.Writer`."""
        write_table(out / AREAS, _rows(records, classes))


def _rows(records: Pairs, classes: Sequence[ClassInfo]) -> Iterator[list[Any]]:
    on_earth = any(areas for _, areas in records)
    yield ['file', 'class', 'pixels', 'share', 'id'] + ['area_m2', 'hectares'] * on_earth
    for record, areas in records:
        total = sum(record.pixels) or 1
        known = areas or [None] * len(classes)
        found = sorted(zip(record.pixels, classes, known), key=lambda each: -each[0])
        for pixels, each, area in found:
            sizes = ['', ''] if area is None else [f'{area:.3f}', f'{area / 1e4:.6f}']
            row = [record.file, each.name, pixels, f'{pixels / total:.6f}', each.id]
            yield row + sizes * on_earth
