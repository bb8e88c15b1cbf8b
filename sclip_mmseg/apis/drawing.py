"""Pictures of segmentations."""

from typing import List, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_MARGIN = 6


def draw_overlay(
    image: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    palette: Sequence[Sequence[int]],
    alpha: float = 0.5,
) -> np.ndarray:
    """Paint classes over a picture, with a legend of those that occur on the right.

    Args:
        image: RGB, uint8 ``[H, W, 3]``.
        labels: Class of each pixel, integers ``[H, W]``.
        class_names: K names.
        palette: K RGB triples.
        alpha: Opacity of the paint, 0 to 1.

    Returns:
        RGB, uint8 ``[H', W + legend, 3]``; H' is larger than H where the legend is longer.
    """
    colors = np.asarray(palette, dtype=np.uint8)
    painted = ((1 - alpha) * image + alpha * colors[labels]).astype(np.uint8)
    order = np.bincount(labels.flatten(), minlength=len(colors)).argsort(kind='stable')[::-1]
    shown = [int(c) for c in order if (labels == c).any()]
    legend = _legend([class_names[c] for c in shown], colors[shown], len(image))
    padded = np.full((len(legend), image.shape[1], 3), 255, dtype=np.uint8)
    padded[: len(image)] = painted
    return np.concatenate([padded, legend], axis=1)


def _legend(names: List[str], colors: np.ndarray, min_height: int) -> np.ndarray:
    size = min(max(min_height // 24, 11), 28)
    font = ImageFont.load_default(size)
    row = size + _MARGIN
    width = int(max(font.getlength(name) for name in names)) + row + 2 * _MARGIN
    height = max(min_height, row * len(names) + _MARGIN)
    sheet = Image.new('RGB', (width, height), 'white')
    pen = ImageDraw.Draw(sheet)
    for index, (name, color) in enumerate(zip(names, colors)):
        top = _MARGIN + index * row
        pen.rectangle((_MARGIN, top, _MARGIN + size, top + size), fill=tuple(color.tolist()))
        pen.text((_MARGIN + row, top - 1), name, fill='black', font=font)
    return np.asarray(sheet)
