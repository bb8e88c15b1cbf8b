"""A mask per class."""

import re
from pathlib import Path

from PIL import Image

from ...registry import WRITERS
from ..inputs import MASKS
from .base import ClassInfo, Item, Writer


@WRITERS.register_module('masks')
class MasksWriter(Writer):
    """Writes ``NAME_masks/ID_CLASS.png`` for each class that occurs: 255 on the class, else 0."""

    def write(self, item: Item) -> None:
        """See :class:`.base.Writer`."""
        for number, (each, count) in enumerate(zip(item.result.classes, item.result.counts)):
            end = f'{MASKS}/{file_name(each)}'
            if count:
                mask = Image.fromarray(item.result.labels == number)
                mask.convert('L').save(item.file(end))
            else:  # left by an earlier run
                Path(item.out, f'{item.name}{end}').unlink(missing_ok=True)


def file_name(each: ClassInfo) -> str:
    """File name of a class's mask; characters other than word characters become ``_``."""
    plain = re.sub(r'[^\w-]+', '_', each.name)[:40]
    return f'{each.id}_{plain}.png'
