"""Pictures with the classes painted over them."""

from ...registry import WRITERS
from ...visualization import draw_overlay
from ..inputs import OVERLAY
from ..media import write_overlay
from .base import Item, Writer


@WRITERS.register_module('overlay')
class OverlayWriter(Writer):
    """Writes ``NAME_overlay.jpg``."""

    ends = (f'{OVERLAY}.jpg', f'{OVERLAY}.png')

    def write(self, item: Item) -> str:
        """See :class:`.base.Writer`; gives the file."""
        result = item.result
        drawn = draw_overlay(item.image, result.labels, result.class_names, result.palette)
        return item.relative(write_overlay(item.file(''), drawn))
