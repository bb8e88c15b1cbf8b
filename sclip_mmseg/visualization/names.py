"""Class names, written on the areas of the classes."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from .fonts import draw_text, text_size

_GRID = 400  # pixels of the longer side of the grid on which places are sought
_SMALLEST = 8  # smallest legible font size
_TRIES = 12


class Box(NamedTuple):
    """Part of an image, in pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    def overlaps(self, other: 'Box') -> bool:
        """Whether the two have a pixel in common."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def font_size(size: Sequence[int]) -> int:
    """Legible font size in pixels for an image of height and width ``size``."""
    return max(11, round((size[0] * size[1]) ** 0.5 / 32))


def place_names(ids: np.ndarray, sizes: dict[int, tuple[int, int]]) -> dict[int, Box]:
    """Find a place for the name of each class, in the middle of its largest area.

    Args:
        ids: Class of each pixel, uint8 or uint16 ``[H, W]``.
        sizes: Class → width and height of its name, in order of priority.

    Returns:
        Class → box within the image; boxes do not overlap. Classes whose area is smaller than
        half their name, and those without a free place, are left out.
    """
    height, width = ids.shape
    step = max(1, -(-max(height, width) // _GRID))
    coarse = np.ascontiguousarray(ids[step // 2 :: step, step // 2 :: step])
    boxes: dict[int, Box] = {}
    for class_id, (wide, high) in sizes.items():
        if wide > width or high > height:
            continue
        depth = _depth(coarse == class_id, wide * high / 2 / step**2)
        if depth is None:
            continue
        for _ in range(_TRIES):
            y, x = np.unravel_index(depth.argmax(), depth.shape)
            if not depth[y, x]:
                break
            left = min(max(int(x) * step + step // 2 - wide // 2, 0), width - wide)
            top = min(max(int(y) * step + step // 2 - high // 2, 0), height - high)
            box = Box(left, top, left + wide, top + high)
            if not any(box.overlaps(other) for other in boxes.values()):
                boxes[class_id] = box
                break
            near = high // step // 2 + 1, wide // step // 4 + 1
            depth[max(0, y - near[0]) : y + near[0], max(0, x - near[1]) : x + near[1]] = 0
    return boxes


def _depth(mask: np.ndarray, smallest: float) -> np.ndarray | None:
    """Distance of each pixel of a mask's largest part to its border; None if it is too small."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if count < 2 or areas.max() < smallest:
        return None
    part = (parts == 1 + areas.argmax()).astype(np.uint8)
    framed = cv2.copyMakeBorder(part, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return cv2.distanceTransform(framed, cv2.DIST_L2, 3)[1:-1, 1:-1]


def write_names(
    painted: np.ndarray,
    ids: np.ndarray,
    names: Sequence[str],
    palette: Sequence[Sequence[int]],
    shown: Sequence[int],
) -> None:
    """Write class names on the areas of the classes, in place, each on a plate of its colour.

    Args:
        painted: RGB, uint8 ``[H, W, 3]``.
        ids: Class of each pixel, uint8 or uint16 ``[H, W]``.
        names: K names.
        palette: K RGB triples.
        shown: Classes to be named, in order of priority.
    """
    width, tags = ids.shape[1], {}
    for class_id in shown:
        size = font_size(ids.shape)
        tag = _tag(names[class_id], palette[class_id], size)
        if tag.width > width:
            size = size * width // tag.width - 1
            if size < _SMALLEST:
                continue
            tag = _tag(names[class_id], palette[class_id], size)
        tags[class_id] = tag
    for class_id, box in place_names(ids, {key: tag.size for key, tag in tags.items()}).items():
        part = painted[box.top : box.bottom, box.left : box.right]
        below = Image.fromarray(part)
        below.paste(tags[class_id], mask=tags[class_id])
        part[:] = np.asarray(below)


def _tag(name: str, color: Sequence[int], size: int) -> Image.Image:
    """A name in black or white on a plate of its colour, RGBA."""
    wide, high = text_size(name, size)
    margin = max(2, size // 4)
    rim = max(1, size // 14)
    tag = Image.new('RGBA', (wide + 2 * margin + 2 * rim, high + 2 * rim), (0, 0, 0, 0))
    ink = contrasting(color)
    ImageDraw.Draw(tag).rounded_rectangle(
        (0, 0, tag.width - 1, tag.height - 1),
        radius=max(2, size // 4),
        fill=(*map(int, color), 235),
        outline=(*ink, 255),
        width=rim,
    )
    draw_text(tag, (margin + rim, rim), name, size, (*ink, 255))
    return tag


def contrasting(color: Sequence[int]) -> tuple[int, int, int]:
    """Black or white, whichever contrasts more with a colour."""
    red, green, blue = map(float, color)
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    return (0, 0, 0) if luminance > 140 else (255, 255, 255)
