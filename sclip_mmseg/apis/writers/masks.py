"""A mask per class."""

import re

from PIL import Image

from ...registry import WRITERS
from ..inputs import MASKS
from .base import ClassInfo, Item, Writer


@WRITERS.register_module('masks')
class MasksWriter(Writer):
    """Writes ``NAME_masks/ID_CLASS.png`` of each class that occurs: 255 where it is, else 0."""

    def write(self, item: Item) -> None:
        """See :class:`.base.Writer`."""
        folder = item.file(MASKS)
        folder.mkdir(exist_ok=True)
        masks = item.result.masks()
        for each in item.result.classes:
            path = folder / file_name(each)
            if each.name in masks:
                Image.fromarray(masks[each.name]).convert('L').save(path)
            else:  # of an earlier run
                path.unlink(missing_ok=True)


def file_name(each: ClassInfo) -> str:
    """Name of a class's mask, whatever characters the class's name has."""
    plain = re.sub(r'[^\w-]+', '_', each.name)[:40]
    return f'{each.id}_{plain}.png'
