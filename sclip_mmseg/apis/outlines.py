"""Outlines of masks as polygons."""

import cv2
import numpy as np

_WITHIN = 1e-3  # pixels


def trace(mask: np.ndarray, edges: bool = True) -> list[list[np.ndarray]]:
    """Trace the outlines of the connected parts of a mask (8-connectivity).

    Args:
        mask: Booleans, or 0 and 1, ``[H, W]``.
        edges: Whether outlines run along the edges of the pixels, so that a polygon has the area
            of its pixels (less a thousandth of a pixel at the right and below, so that readers
            that truncate decimals find the outer pixels); else through their centres, as
            :func:`cv2.fillPoly` expects.

    Returns:
        For each part its outline and those of its holes, each ``[N, 2]`` of x and y. Along edges,
        pixel 0 begins at 0; else its centre is at 0.
    """
    mask = np.ascontiguousarray(mask, np.uint8)
    if edges:  # doubled: corners of pixels have even coordinates, and each pixel covers 3×3
        odd = np.zeros([2 * side + 1 for side in mask.shape], np.uint8)
        odd[1::2, 1::2] = mask
        mask = cv2.dilate(odd, np.ones((3, 3), np.uint8))
    found, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [_corners(ring[:, 0]) if edges else ring[:, 0] for ring in found]
    parents = [] if tree is None else tree.reshape(-1, 4)[:, 3].tolist()  # OpenCV 4: [1, N, 4]
    parts = {index: [ring] for index, ring in enumerate(rings) if parents[index] < 0}
    for ring, parent in zip(rings, parents):
        if parent >= 0:
            parts[parent].append(ring)
    return list(parts.values())


def _corners(ring: np.ndarray) -> np.ndarray:
    """Corners, in pixels, of a contour in half pixels.

    Corners have even coordinates; those that the contour cuts off diagonally are added. Edges with
    the mask to the left or above are moved a little inwards. A corner whose edges are moved
    differently becomes two, in the pixels at the ends of its edges.
    """
    following = np.roll(ring, -1, axis=0)
    x, y = (following - ring).T
    between = np.stack([ring[:, 0], following[:, 1]], axis=1)
    other = np.stack([following[:, 0], ring[:, 1]], axis=1)
    between = np.where((between % 2 == 0).all(1)[:, None], between, other)
    ring = _pairs(ring, between, (x != 0) & (y != 0))
    out = np.sign(np.roll(ring, -1, axis=0) - ring)
    came = np.roll(out, 1, axis=0)
    turns = (out != came).any(1)
    ring, (x, y), (u, v) = ring[turns] / 2, came[turns].T, out[turns].T
    first = np.stack([(y < 0) | (x > 0), (y > 0) | (x > 0)], axis=1)
    second = np.stack([(v < 0) | (u < 0), (v < 0) | (u > 0)], axis=1)
    two = (first != second).any(1)
    return _pairs(ring - _WITHIN * first, ring - _WITHIN * second, two)


def _pairs(points: np.ndarray, others: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Points, each followed by its counterpart in ``others`` where ``wanted``."""
    both = np.stack([points, others], axis=1)
    return both[np.stack([np.full(len(points), True), wanted], axis=1)]


def join(rings: list[np.ndarray]) -> np.ndarray:
    """Join an outline and its holes to one ring by cuts of zero width, for formats without holes.

    Args:
        rings: Outlines from :func:`trace`, each ``[N, 2]``.

    Returns:
        Points of the ring, ``[N, 2]``.
    """
    from scipy.spatial import cKDTree

    whole, *holes = rings
    for hole in sorted(holes, key=lambda ring: ring[:, 0].min()):
        distances, nearest = cKDTree(whole).query(hole)
        start = int(distances.argmin())
        at, loop = nearest[start], np.concatenate([hole[start:], hole[: start + 1]])
        whole = np.concatenate([whole[: at + 1], loop, whole[at:]])
    return whole
