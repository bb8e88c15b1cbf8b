"""The archive that CVAT imports as "Segmentation mask 1.1"."""

import base64
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from ...datasets.palette import voc_palette
from ...registry import WRITERS
from ...utils.errors import InputError
from ...utils.files import open_atomically
from ...visualization.painting import BACKGROUND
from ..inputs import without_suffixes
from .base import ClassInfo, Item, Pairs, Writer

ARCHIVE = 'cvat.zip'
_KINDS = 'SegmentationClass', 'SegmentationObject'
_LISTED = 'ImageSets/Segmentation/default.txt'


@WRITERS.register_module('cvat')
class CvatWriter(Writer):
    """Writes ``cvat.zip``: masks in the classes' colours, with one object per class."""

    run_files = (ARCHIVE,)

    def check(self, classes: Sequence[ClassInfo]) -> None:
        """See :class:`.base.Writer`."""
        for each in classes:
            if ':' in each.name or each.name.startswith('#'):
                raise InputError(
                    f"format cvat cannot name class '{each.name}': leave out ':', and '#' in front"
                )

    def write(self, item: Item) -> list[str]:
        """See :class:`.base.Writer`; returns the two masks as text."""
        result = item.result
        bare = [name == BACKGROUND for name in result.class_names] + [True]  # last: no data
        colors = [
            (0, 0, 0) if hidden else color for hidden, color in zip(bare, [*result.palette, None])
        ]
        objects = np.zeros((len(colors), 3), np.uint8)
        labels = np.minimum(result.labels, len(result.palette))
        found = [number for number in np.unique(labels) if not bare[number]]
        objects[found] = voc_palette(len(found) + 1)[1:]
        return [_to_text(np.asarray(each, np.uint8)[labels]) for each in (colors, objects)]

    def finish(self, records: Pairs, classes: Sequence[ClassInfo], out: Path) -> None:
        """See :class:`.base.Writer`."""
        kept = without_suffixes([PurePosixPath(record.image) for record, _ in records])
        # A name that is not UTF-8 is written with its bytes as \udcXX.
        names = [str(name).encode(errors='backslashreplace').decode() for name in kept]
        colors = {BACKGROUND: (0, 0, 0)} | {
            each.name: each.color for each in classes if each.name != BACKGROUND
        }
        lines = [f'{name}:{",".join(map(str, color))}::' for name, color in colors.items()]
        with open_atomically(out / ARCHIVE) as file, zipfile.ZipFile(file, 'w') as archive:
            _add(archive, 'labelmap.txt', '\n'.join(['# label:color_rgb:parts:actions', *lines]))
            _add(archive, _LISTED, '\n'.join(names))
            for name, (_, texts) in zip(names, records):
                for kind, text in zip(_KINDS, texts):
                    _add(archive, f'{kind}/{name}.png', base64.b64decode(text))


def _add(archive: zipfile.ZipFile, name: str, content: str | bytes) -> None:
    entry = zipfile.ZipInfo(name)  # without the time, so that equal results give equal files
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def _to_text(image: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'png')
    return base64.b64encode(file.getvalue()).decode()
