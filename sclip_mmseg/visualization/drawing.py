"""Overlays, legends and comparisons of segmentations."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from ..old_names import old_arguments
from .fonts import draw_text, text_size
from .names import font_size, write_names
from .painting import BACKGROUND, class_map, draw_outlines, paint

Colors = Sequence[Sequence[int]]
GAP = 6  # pixels between images in a row
_FEWEST_ROWS = 6  # minimum number of rows of a legend beside a low image
#: Minimum share of the image for classes in a legend: smaller ones would be shown as 0.0 %.
SHOWN = 0.0005
#: Positions of the legend.
LEGENDS = 'beside', 'below', 'inside', 'none'


def draw_classes(
    image: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    palette: Colors,
    alpha: float = 0.5,
    names: bool = True,
) -> np.ndarray:
    """Paint classes over an image, with outlines between them and their names.

    The class ``background`` and labels that are not classes, such as 255, are left unpainted.

    Args:
        image: RGB, uint8 ``[H, W, 3]``.
        labels: Class of each pixel, integers ``[H, W]``.
        class_names: K names.
        palette: K RGB triples.
        alpha: Opacity of the colours, 0 to 1.
        names: Whether to write the name of each class on its largest area, where it fits.

    Returns:
        RGB, uint8 ``[H, W, 3]``, of the image's size.
    """
    ids = class_map(labels, len(class_names))
    shown = _count(ids, len(class_names)) if names else []
    return _draw(image, ids, class_names, palette, alpha, shown)


def _draw(
    image: np.ndarray,
    ids: np.ndarray,
    class_names: Sequence[str],
    palette: Colors,
    alpha: float,
    named: Sequence[int],
) -> np.ndarray:
    bare = [name == BACKGROUND for name in class_names]
    colors: list[Sequence[int] | None] = [
        None if hidden else color for hidden, color in zip(bare, palette)
    ]
    painted = paint(np.ascontiguousarray(image), ids, [*colors, None], alpha)
    draw_outlines(painted, ids)
    write_names(painted, ids, class_names, palette, [c for c in named if not bare[c]])
    return painted


@old_arguments(inside="write legend='inside'")
def draw_overlay(
    image: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    palette: Colors,
    alpha: float = 0.5,
    legend: str = LEGENDS[0],
    names: bool = True,
) -> np.ndarray:
    """Paint classes over an image, with a legend of those that cover at least 0.05 % of it.

    Args:
        image, labels, class_names, palette, alpha, names: See :func:`draw_classes`.
        legend: ``'beside'`` (on the right) or ``'below'``, with the largest class first;
            ``'inside'``, in the upper left corner as far as it fits, with the classes in their
            order and without names elsewhere, for frames of videos; or ``'none'``.

    Returns:
        RGB, uint8 ``[H, W, 3]``: of the image's size with ``'inside'`` and ``'none'``, else
        enlarged by the legend.
    """
    ids = class_map(labels, len(class_names))
    shown = _count(ids, len(class_names), SHOWN * ids.size)
    inside = legend == 'inside'
    named = shown if names and not inside else []
    painted = _draw(image, ids, class_names, palette, alpha, named)
    if legend == 'none':
        return painted
    if inside:
        shown.sort()
    height, width = painted.shape[:2]
    sheet = draw_legend(
        [class_names[c] for c in shown],
        [palette[c] for c in shown],
        font_size((height, width)),
        *((1, width) if legend == 'below' else (height,)),
    )
    if legend == 'below':
        return stack([painted, sheet], gap=0)
    if not inside:
        return beside([painted, sheet], gap=0)
    sheet = sheet[:height, :width]
    corner = painted[: sheet.shape[0], : sheet.shape[1]]
    corner[:] = cv2.addWeighted(corner, 0.25, sheet, 0.75, 0)
    return painted


def _count(ids: np.ndarray, num_classes: int, least: float = 1) -> list[int]:
    """Classes with at least ``least`` pixels in a map of :func:`class_map`, largest first."""
    counts = cv2.calcHist([ids], [0], None, [num_classes + 1], [0, num_classes + 1])
    counts = counts.ravel()[:num_classes]  # a column in OpenCV 4, a row in 5
    return [int(c) for c in counts.argsort(kind='stable')[::-1] if counts[c] >= least]


def draw_comparison(
    image: np.ndarray,
    maps: dict[str, np.ndarray],
    class_names: Sequence[str],
    palette: Colors,
    alpha: float = 0.5,
    names: bool = True,
) -> np.ndarray:
    """Paint several label maps over the same image, side by side, with one legend.

    Args:
        image, class_names, palette, alpha, names: See :func:`draw_classes`.
        maps: Title → class of each pixel, integers ``[H, W]``.

    Returns:
        RGB, uint8: a row of the maps below their titles, with a legend of all classes that occur,
        in their order.
    """
    panels, shown = {}, set()
    for title, labels in maps.items():
        ids = class_map(labels, len(class_names))
        found = _count(ids, len(class_names))
        panels[title] = _draw(image, ids, class_names, palette, alpha, found if names else [])
        shown.update(found)
    return with_legend(titled(panels), sorted(shown), class_names, palette)


def with_legend(
    sheet: np.ndarray, shown: Sequence[int], class_names: Sequence[str], palette: Colors
) -> np.ndarray:
    """Add a legend of some classes to the right of a row of :func:`titled` images."""
    size = font_size((len(sheet), len(sheet)))
    names, colors = [class_names[c] for c in shown], [palette[c] for c in shown]
    return beside([sheet, draw_legend(names, colors, size, len(sheet))], gap=0)


def draw_legend(
    names: Sequence[str],
    colors: Colors,
    size: int = 11,
    height: int = 1 << 20,
    width: int | None = None,
) -> np.ndarray:
    """Draw a legend: boxes in the classes' colours followed by their names, in columns.

    Args:
        names: K names.
        colors: K RGB triples, 0 to 255.
        size: Font size in pixels.
        height: Maximum height of a column in pixels, at least a few lines.
        width: Maximum width of all columns in pixels, which then have as few lines as possible.

    Returns:
        RGB, uint8 ``[H, W, 3]``, on white.
    """
    margin = max(4, size // 2)
    row = text_size('', size)[1] + margin // 2
    lengths = [text_size(name, size)[0] + size + 3 * margin for name in names]
    rows = max((height - margin) // row, _FEWEST_ROWS) if width is None else 1
    while True:
        starts = range(0, len(names), rows)
        widths = [max(lengths[start : start + rows]) for start in starts]
        if width is None or sum(widths) <= width or rows >= len(names):
            break
        rows += 1
    columns = [range(start, min(start + rows, len(names))) for start in starts]
    sheet = Image.new('RGB', (sum(widths), min(rows, len(names)) * row + margin), 'white')
    pen = ImageDraw.Draw(sheet)
    for left, column in zip(np.cumsum([0, *widths]).tolist(), columns):
        for line, index in enumerate(column):
            x, y = left + margin, margin // 2 + line * row
            top = y + (row - size) // 2
            bare = names[index] == BACKGROUND
            pen.rectangle(
                (x, top, x + size, top + size),
                fill='white' if bare else tuple(map(int, colors[index])),
                outline='gray' if bare else None,
            )
            draw_text(sheet, (x + size + margin, y + margin // 4), names[index], size, (0, 0, 0))
    return np.asarray(sheet)


def beside(panels: Sequence[np.ndarray], gap: int = GAP) -> np.ndarray:
    """Put images ``[H, W, 3]`` in a row on white, aligned at the top."""
    height = max(len(panel) for panel in panels)
    width = sum(panel.shape[1] for panel in panels) + gap * (len(panels) - 1)
    sheet = np.full((height, width, 3), 255, dtype=np.uint8)
    left = 0
    for panel in panels:
        sheet[: len(panel), left : left + panel.shape[1]] = panel
        left += panel.shape[1] + gap
    return sheet


def stack(rows: Sequence[np.ndarray], gap: int = GAP) -> np.ndarray:
    """Put images ``[H, W, 3]`` in a column on white, aligned at the left."""
    return beside([row.swapaxes(0, 1) for row in rows], gap).swapaxes(0, 1)


def titled(panels: dict[str, np.ndarray]) -> np.ndarray:
    """Put images ``[H, W, 3]`` in a row, each below its title."""
    columns = []
    for title, panel in panels.items():
        size = font_size(panel.shape)
        head = Image.new('RGB', (panel.shape[1], text_size('', size)[1] + GAP), 'white')
        draw_text(head, (2, GAP // 2), title, size, (0, 0, 0))
        columns.append(np.concatenate([np.asarray(head), panel]))
    return beside(columns)
