"""Pictures of segmentations."""

from typing import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_MARGIN = 6


def draw_overlay(
    image: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    palette: Sequence[Sequence[int]],
    alpha: float = 0.5,
    inside: bool = False,
) -> np.ndarray:
    """Paint classes over a picture, with a legend of those that occur.

    Args:
        image: RGB, uint8 ``[H, W, 3]``.
        labels: Class of each pixel, integers ``[H, W]``.
        class_names: K names.
        palette: K RGB triples.
        alpha: Opacity of the paint, 0 to 1.
        inside: Put the legend into the upper left corner, as far as it fits, with the classes in
            their order; else on the right, the largest class first.

    Returns:
        RGB, uint8 ``[H, W, 3]`` with the legend inside, else ``[H', W + legend, 3]``; H' is larger
        than H where the legend is longer.
    """
    colors = np.asarray(palette, dtype=np.uint8)
    painted = ((1 - alpha) * image + alpha * colors[labels]).astype(np.uint8)
    counts = np.bincount(labels.flatten(), minlength=len(colors))
    order = np.arange(len(colors)) if inside else counts.argsort(kind='stable')[::-1]
    shown = [int(c) for c in order if counts[c]]
    height, width = labels.shape
    size = min(max(height // 24, 11), 28)
    legend = draw_legend([class_names[c] for c in shown], colors[shown], size)
    if inside:
        legend = legend[:height, :width]
        corner = painted[: legend.shape[0], : legend.shape[1]]
        corner[:] = 0.25 * corner + 0.75 * legend
        return painted
    sheet = np.full((max(height, len(legend)), width + legend.shape[1], 3), 255, dtype=np.uint8)
    sheet[:height, :width] = painted
    sheet[: len(legend), width:] = legend
    return sheet


def draw_legend(
    names: Sequence[str], colors: Sequence[Sequence[int]], size: int = 11
) -> np.ndarray:
    """Draw names behind boxes of their colours, one below the other.

    Args:
        names: K names.
        colors: K RGB triples, 0 to 255.
        size: Of the font in pixels.

    Returns:
        RGB, uint8 ``[H, W, 3]``, on white.
    """
    font = ImageFont.load_default(size)
    row = size + _MARGIN
    width = int(max((font.getlength(name) for name in names), default=0)) + row + 2 * _MARGIN
    sheet = Image.new('RGB', (width, row * len(names) + _MARGIN), 'white')
    pen = ImageDraw.Draw(sheet)
    for index, (name, color) in enumerate(zip(names, colors)):
        top = _MARGIN + index * row
        pen.rectangle((_MARGIN, top, _MARGIN + size, top + size), fill=tuple(map(int, color)))
        pen.text((_MARGIN + row, top - 1), name, fill='black', font=font)
    return np.asarray(sheet)
