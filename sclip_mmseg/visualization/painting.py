"""Class colours over an image, with outlines between the classes."""

from collections.abc import Sequence

import cv2
import numpy as np

#: Name of the class that is left unpainted.
BACKGROUND = 'background'


def class_map(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Convert labels to a small dtype; those that are not classes, such as 255, become K.

    Args:
        labels: Class of each pixel, integers ``[H, W]``.
        num_classes: Number of classes, K.

    Returns:
        uint8 ``[H, W]``, or uint16 if K is larger than 255.
    """
    labels = np.asarray(labels)
    ids = labels.astype(np.uint8 if num_classes <= 255 else np.uint16)
    if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
        ids[(labels < 0) | (labels >= num_classes)] = num_classes
    return ids


def paint(
    image: np.ndarray, ids: np.ndarray, palette: Sequence[Sequence[int] | None], alpha: float
) -> np.ndarray:
    """Blend an image with the colours of its classes.

    Args:
        image: RGB, uint8 ``[H, W, 3]``.
        ids: Map from :func:`class_map`.
        palette: RGB triple of each id; None for ids that are left unpainted.
        alpha: Opacity of the colours, 0 to 1.

    Returns:
        RGB, uint8 ``[H, W, 3]``.
    """
    colors = np.array([color or (0, 0, 0) for color in palette], dtype=np.uint8)
    painted = cv2.addWeighted(image, 1 - alpha, _look_up(colors, ids), alpha, 0)
    bare = np.array([color is None for color in palette], dtype=np.uint8)
    return cv2.copyTo(image, _look_up(bare, ids), painted) if bare.any() else painted


def _look_up(table: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """``table[ids]`` for a table of uint8."""
    if ids.dtype != np.uint8:
        return table[ids]
    whole = np.zeros((256, *table.shape[1:]), dtype=np.uint8)
    whole[: len(table)] = table
    if table.ndim == 1:
        return cv2.LUT(ids, whole)
    return cv2.applyColorMap(ids, whole[:, None])


def draw_outlines(painted: np.ndarray, ids: np.ndarray) -> None:
    """Draw a light line with dark rims between classes, in place.

    The light line or its dark rims are visible on any image. The line is one or two pixels wide in
    an image of 500 to 1000 pixels, and grows with the image. Areas of a few pixels get no line,
    since it would hide them.

    Args:
        painted: RGB, uint8 ``[H, W, 3]``.
        ids: Map from :func:`class_map`.
    """
    unit = outline_width(ids.shape)
    line = _borders(cv2.medianBlur(ids, 5), unit + 1)
    rim = cv2.dilate(line, np.ones((2 * unit + 1, 2 * unit + 1), np.uint8))
    cv2.copyTo(cv2.convertScaleAbs(painted, alpha=0.6), rim, painted)
    cv2.max(painted, cv2.merge([line] * 3), painted)


def outline_width(size: Sequence[int]) -> int:
    """Width in pixels of a line, and of its rims, in an image of height and width ``size``."""
    return max(1, round((size[0] * size[1]) ** 0.5 / 600))


def _borders(ids: np.ndarray, side: int) -> np.ndarray:
    """255 where a ``side × side`` square has more than one class, else 0; uint8 ``[H, W]``."""
    square = np.ones((side, side), np.uint8)
    return cv2.compare(cv2.dilate(ids, square), cv2.erode(ids, square), cv2.CMP_NE)
