"""Polygons for YOLO's segmentation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from ...registry import WRITERS
from ...utils.files import write_atomically
from ...visualization.painting import BACKGROUND
from ..outlines import join, trace
from .base import ClassInfo, Item, Pairs, Writer

FOLDER = 'yolo'
# YOLO fills polygons through the centres of pixels. A quarter is added so that readers that round
# and readers that truncate find the same pixel.
_WITHIN = 0.25


@WRITERS.register_module('yolo')
class YoloWriter(Writer):
    """Writes ``yolo/labels/NAME.txt``, one line per connected part, and ``yolo/data.yaml``.

    Classes are numbered from 0, without the background. Holes are joined to their outlines.
    """

    run_files = (f'{FOLDER}/data.yaml',)

    def write(self, item: Item) -> None:
        """See :class:`.base.Writer`."""
        numbers = {each.id: number for number, each in enumerate(_kinds(item.result.classes))}
        size = np.array(item.result.labels.shape[::-1])
        lines = []
        for each, mask in item.result.painted():
            for rings in trace(mask, edges=False):
                ring = join(rings)
                ring = np.pad(ring, [(0, max(0, 3 - len(ring))), (0, 0)], 'edge')
                words = (f'{value:.6f}' for value in ((ring + _WITHIN) / size).ravel())
                lines.append(f'{numbers[each.id]} {" ".join(words)}\n')
        item.file('.txt', FOLDER, 'labels').write_text(''.join(lines))

    def finish(self, records: Pairs, classes: Sequence[ClassInfo], out: Path) -> None:
        """See :class:`.base.Writer`."""
        names = {number: each.name for number, each in enumerate(_kinds(classes))}
        content = dict(train='images', val='images', nc=len(names), names=names)
        (out / FOLDER).mkdir(exist_ok=True)
        text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
        write_atomically(out / FOLDER / 'data.yaml', text.encode())


def _kinds(classes: Sequence[ClassInfo]) -> list[ClassInfo]:
    return [each for each in classes if each.name != BACKGROUND]
