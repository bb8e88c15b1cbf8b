"""Boundaries of classes, counted for the Boundary IoU."""

import cv2
import numpy as np

#: Width of boundaries that the authors take, as a share of the image's diagonal.
RATIO = 0.02


def count(
    label: np.ndarray, prediction: np.ndarray, num_classes: int, ignore_index: int, ratio: float
) -> np.ndarray:
    """Count the pixels of each class that lie on its boundary.

    Cheng et al., *Boundary IoU: Improving Object-Centric Image Segmentation Evaluation*, CVPR 2021,
    each class being one mask: the boundary is what erosion by a square removes, whose half width is
    ``ratio`` times the diagonal. The image ends at a boundary. Ignored pixels are of no class in
    both maps, so that a prediction that equals the label elsewhere is perfect.

    Args:
        label: Integers ``[H, W]``, 0 to K - 1 or ``ignore_index``.
        prediction: Integers ``[H, W]``, 0 to K - 1.
        num_classes: K.
        ignore_index: Label of pixels that do not count.
        ratio: Width of boundaries as a share of the diagonal; at least one pixel.

    Returns:
        Class, pixels of both boundaries, of the prediction's and of the label's, int64 ``[4, m]``,
        of the classes that occur.
    """
    counted = label != ignore_index
    width = max(1, round(ratio * float(np.hypot(*label.shape))))
    edges = [_edges(ids, counted, num_classes, width) for ids in (prediction, label)]
    both = edges[0] & edges[1] & (prediction == label)
    parts = [(label, both), (prediction, edges[0]), (label, edges[1])]
    pixels = np.stack([np.bincount(ids[where], minlength=num_classes) for ids, where in parts])
    [classes] = np.nonzero(pixels.any(0))
    return np.concatenate([classes[None], pixels[:, classes]]).astype(np.int64)


def _edges(ids: np.ndarray, counted: np.ndarray, num_classes: int, width: int) -> np.ndarray:
    """Where another class, no class or the end of the image is within a square: ``[H, W]``.

    This is the boundary of all classes at once, as each pixel is of one.
    """
    # Outside is 0, and no class the last id: both differ from all classes.
    padded = np.pad(np.where(counted, ids + 1, num_classes + 1), 1)
    padded = padded.astype(np.uint16 if num_classes < (1 << 16) - 2 else np.float32)
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    differs = cv2.dilate(padded, square) != cv2.erode(padded, square)
    return differs[1:-1, 1:-1] & counted
