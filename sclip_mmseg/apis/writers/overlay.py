"""Images with the classes painted over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...registry import WRITERS
from ...utils.errors import InputError
from ...visualization import draw_overlay
from ...visualization.drawing import LEGENDS
from ..media import overlay_end, write_overlay
from .base import Item, MapItem, Writer

if TYPE_CHECKING:
    from ..segmentation import Segmentation

#: Maximum pixels of the longer side of a map's overlay.
LONGEST = 4096


@WRITERS.register_module('overlay')
class OverlayWriter(Writer):
    """Writes ``NAME_overlay.jpg``; for maps larger than 4,096 pixels a reduced one.

    Args:
        opacity: Opacity of the colours, 0 to 1.
        names: Whether to write the name of each class on its largest area.
        legend: ``'beside'``, ``'below'``, ``'inside'``, or ``'none'``, with which the overlay has
            the image's size.

    Raises:
        InputError: If an option is invalid.
    """

    for_maps = True

    def __init__(self, opacity: float = 0.5, names: bool = True, legend: str = LEGENDS[0]) -> None:
        if isinstance(opacity, bool) or not isinstance(opacity, (int, float)):
            raise InputError(f'format overlay: opacity={opacity!r} must be a number from 0 to 1')
        if not 0 <= opacity <= 1:
            raise InputError(f'format overlay: opacity={opacity} must be from 0 to 1')
        if not isinstance(names, bool):
            raise InputError(f'format overlay: names={names!r} must be True or False')
        legend = 'none' if legend is None else legend
        if legend not in LEGENDS:
            raise InputError(
                f"format overlay: legend='{legend}' is not one of {', '.join(LEGENDS)}"
            )
        self.opacity, self.names, self.legend = opacity, names, legend

    def write(self, item: Item) -> str:
        """See :class:`.base.Writer`; returns the file."""
        drawn = self.draw(item.image, item.result)
        path = item.file(overlay_end(drawn))
        write_overlay(item.out / item.name, drawn)
        return item.relative(path)

    def write_map(self, item: MapItem) -> str:
        """See :class:`.base.Writer`; a large map is reduced to a preview."""
        return self.write(item.as_image(LONGEST))

    def draw(self, image: np.ndarray, result: Segmentation, frame: bool = False) -> np.ndarray:
        """Draw the overlay of an image, or of a frame of a video, which keeps its size."""
        legend = 'inside' if frame and self.legend != 'none' else self.legend
        names = self.names and not frame
        return draw_overlay(
            *(image, result.labels, result.class_names, result.palette),
            *(self.opacity, legend, names),
        )
