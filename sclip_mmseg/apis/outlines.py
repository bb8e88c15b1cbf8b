"""Outlines of masks as polygons."""

import cv2
import numpy as np


def trace(mask: np.ndarray, edges: bool = True) -> list[list[np.ndarray]]:
    """Outlines of the connected parts of a mask, pixels that touch at a corner being connected.

    Args:
        mask: Of bool or 0 and 1, ``[H, W]``.
        edges: Run along the edges of the pixels, so that a polygon has the area of its pixels; else
            through the centres of the outer pixels, as :func:`cv2.fillPoly` takes them.

    Returns:
        Per part its outline and those of its holes, each ``[N, 2]`` of x and y; pixel 0 begins at 0
        where they run along edges, else its centre is at 0.
    """
    mask = np.ascontiguousarray(mask, np.uint8)
    if edges:  # corners of pixels have even coordinates here, and each pixel 3×3 places
        odd = np.zeros([2 * side + 1 for side in mask.shape], np.uint8)
        odd[1::2, 1::2] = mask
        mask = cv2.dilate(odd, np.ones((3, 3), np.uint8))
    found, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [_corners(ring[:, 0]) / 2 if edges else ring[:, 0] for ring in found]
    parents = [] if tree is None else tree.reshape(-1, 4)[:, 3].tolist()  # OpenCV 4: [1, N, 4]
    parts = {index: [ring] for index, ring in enumerate(rings) if parents[index] < 0}
    for ring, parent in zip(rings, parents):
        if parent >= 0:
            parts[parent].append(ring)
    return list(parts.values())


def _corners(ring: np.ndarray) -> np.ndarray:
    """The corners of a contour along edges, those included, at even coordinates, that it cuts."""
    following = np.roll(ring, -1, axis=0)
    x, y = (following - ring).T
    between = np.stack([ring[:, 0], following[:, 1]], axis=1)
    other = np.stack([following[:, 0], ring[:, 1]], axis=1)
    between = np.where((between % 2 == 0).all(1)[:, None], between, other)
    both = np.stack([ring, between], axis=1)
    ring = both[np.stack([np.full(len(ring), True), (x != 0) & (y != 0)], axis=1)]
    step = np.sign(np.roll(ring, -1, axis=0) - ring)
    return ring[(step != np.roll(step, 1, axis=0)).any(1)]


def join(rings: list[np.ndarray]) -> np.ndarray:
    """An outline and its holes as one ring, joined by cuts without width.

    Formats without holes take it.

    Args:
        rings: Of :func:`trace`, each ``[N, 2]``.

    Returns:
        ``[N, 2]``.
    """
    from scipy.spatial import cKDTree

    whole, *holes = rings
    for hole in sorted(holes, key=lambda ring: ring[:, 0].min()):
        distances, nearest = cKDTree(whole).query(hole)
        start = int(distances.argmin())
        at, loop = nearest[start], np.concatenate([hole[start:], hole[: start + 1]])
        whole = np.concatenate([whole[: at + 1], loop, whole[at:]])
    return whole
