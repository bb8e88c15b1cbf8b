"""Label maps, and the list of their classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ...rasters.labels import write_label_raster
from ...rasters.result import no_data_label
from ...registry import WRITERS
from ...utils.files import write_atomically
from ..inputs import LABELS
from .base import ClassInfo, Item, MapItem, Pairs, Writer

if TYPE_CHECKING:
    from ..segmentation import Segmentation

CLASSES = 'classes.json'


@WRITERS.register_module('labels')
class LabelsWriter(Writer):
    """Writes ``NAME_labels.png``, or ``NAME_labels.tif`` for maps, and ``classes.json``."""

    run_files = (CLASSES,)
    for_maps = True

    def write(self, item: Item) -> str:
        """See :class:`.base.Writer`; returns the file."""
        path = item.file(f'{LABELS}.png')
        write_labels(item.result, path)
        return item.relative(path)

    def write_map(self, item: MapItem) -> str:
        """See :class:`.base.Writer`; returns the file."""
        path = item.file(f'{LABELS}.tif')
        found = item.found
        write_label_raster(path, found.grid, item.classes, found.labels, item.raster.tags)
        return item.relative(path)

    def finish(self, records: Pairs, classes: Sequence[ClassInfo], out: Path) -> None:
        """See :class:`.base.Writer`."""
        content = json.dumps([asdict(each) for each in classes], ensure_ascii=False, indent=1)
        write_atomically(out / CLASSES, content.encode())


def write_labels(result: Segmentation, path: Path) -> None:
    """Write the class of each pixel as a PNG of ids.

    The PNG has 8 bits, with the classes' colours as its palette, or 16 bits without a palette for
    large ids. Ids given in the list of classes are used. 255 (65535 with 16 bits) means no class,
    as everywhere in OpenMMLab, or no data.
    """
    ids = [each.id for each in result.classes]
    no_data = no_data_label(max(ids) + 1)
    table = np.array([*ids, no_data], np.min_scalar_type(no_data))
    image = Image.fromarray(table[np.minimum(result.labels, len(ids))])
    if no_data > 255:
        image.save(path)
        return
    palette = np.zeros((256, 3), np.uint8)
    palette[ids] = [each.color for each in result.classes]
    image.putpalette(palette.tobytes())
    image.save(path)
