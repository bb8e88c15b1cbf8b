"""Confused classes: the largest off-diagonal cells of a confusion matrix, and its figure."""

from dataclasses import dataclass
from html import escape

import numpy as np

from .result import Result
from .statistics import areas_by_image

_CELL = 16  # side of a cell in the figure, in SVG units
_SMALLEST = 0.005  # smallest share of a label that is drawn


@dataclass(frozen=True)
class Confusion:
    """Pixels of one class that are predicted as another.

    Attributes:
        label, prediction: Names of the classes.
        share: Share of the label's pixels, 0 to 1.
        pixels: Number of pixels.
        images: Number of images with such pixels.
    """

    label: str
    prediction: str
    share: float
    pixels: int
    images: int

    def __str__(self) -> str:
        where = f'{self.images} image{"s" if self.images != 1 else ""}'
        return (
            f'{100 * self.share:.0f} % of {self.label} becomes {self.prediction} '
            f'({self.pixels:,} pixels in {where})'
        )


def largest_confusions(result: Result, count: int = 10) -> list[Confusion]:
    """List the largest confusions of two classes, by their share of the label's pixels.

    Args:
        result: Result of any number of images.
        count: Maximum number of confusions.
    """
    matrix, names = result.confusion(), result.class_names
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    confusions = []
    for cell in np.lexsort((-matrix.ravel(), -shares.ravel()))[:count]:
        row, column = divmod(int(cell), len(names))
        if not shares[row, column]:
            break
        entries = (result.label == row) & (result.prediction == column)
        confusions.append(
            Confusion(
                *(names[row], names[column], float(shares[row, column])),
                *(int(matrix[row, column]), int(entries.sum())),
            )
        )
    return confusions


def draw_confusion(result: Result, title: str = 'Confusion matrix') -> str:
    """Draw the confusion matrix as an SVG, each row divided by its label's pixels.

    Cells below half a percent and classes without pixels are left out.

    Args:
        result: Result of any number of images.
        title: Title of the SVG, for screen readers.
    """
    matrix = result.confusion()
    [shown] = (matrix.sum(0) + matrix.sum(1)).nonzero()
    names = [result.class_names[index] for index in shown]
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    shares = shares[np.ix_(shown, shown)]
    # East Asian letters are twice as wide.
    widths = [sum(1 + (ord(letter) > 0x2E7F) for letter in name) for name in names]
    edge = 8 + round(6.2 * max(widths, default=0))
    side = _CELL * len(names)
    size = edge + side + 4
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" width="{size}" '
        f'height="{size}" role="img" font-family="sans-serif" font-size="11">',
        f'<title>{escape(title)}</title>',
        f'<rect x="{edge}" y="{edge}" width="{side}" height="{side}" fill="#f6f6f4"/>',
    ]
    for row, column in zip(*(shares >= _SMALLEST).nonzero()):
        share = shares[row, column]
        color = '0,114,178' if row == column else '213,94,0'
        words = f'{names[row]} → {names[column]}: {100 * share:.1f} %'
        parts.append(
            f'<rect x="{edge + _CELL * column}" y="{edge + _CELL * row}" width="{_CELL}" '
            f'height="{_CELL}" fill="rgba({color},{0.05 + 0.95 * share**0.5:.2f})">'
            f'<title>{escape(words)}</title></rect>'
        )
    for index, name in enumerate(names):
        middle = edge + _CELL * (index + 0.5)
        text = f'{escape(name)}</text>'
        parts += [
            f'<text x="{edge - 4}" y="{middle + 4}" text-anchor="end">{text}',
            f'<text transform="translate({middle + 4},{edge - 4}) rotate(-90)">{text}',
        ]
    return '\n'.join([*parts, '</svg>'])


def image_scores(result: Result) -> np.ndarray:
    """Mean IoU of each image over the classes of its label.

    Args:
        result: Result of N images.

    Returns:
        Percent, float64 ``[N]``; NaN for images without a labelled class.
    """
    right, prediction, label, *_ = areas_by_image(result)
    counted = label > 0
    union = prediction * counted + label - right  # for the classes of the label
    with np.errstate(invalid='ignore'):
        return 100 * (right * union.power(-1)).sum(1) / counted.sum(1)
