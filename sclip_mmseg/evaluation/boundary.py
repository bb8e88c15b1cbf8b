"""Count the pixels of class boundaries, for Boundary IoU."""

import cv2
import numpy as np

#: Width of boundaries in the paper, as a share of the image's diagonal.
RATIO = 0.02


def count(
    label: np.ndarray, prediction: np.ndarray, num_classes: int, ignore_index: int, ratio: float
) -> np.ndarray:
    """Count the pixels of each class that lie on its boundary.

    After Cheng et al., *Boundary IoU: Improving Object-Centric Image Segmentation Evaluation*, CVPR
    2021, with each class as one mask: the boundary is what an erosion removes, by a square with a
    half width of ``ratio`` times the diagonal. The border of the image is a boundary. Ignored
    pixels have no class in both maps, so a prediction that equals the label elsewhere is perfect.

    Args:
        label: Integers ``[H, W]``, 0 to K - 1 or ``ignore_index``.
        prediction: Integers ``[H, W]``, 0 to K - 1.
        num_classes: Number of classes, K.
        ignore_index: Label of ignored pixels.
        ratio: Width of boundaries as a share of the diagonal; at least one pixel is used.

    Returns:
        Class, and pixels on both boundaries, on the prediction's and on the label's, int64
        ``[4, m]``, for the classes that occur.
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
    """Pixels with another class, no class or the image border within a square, ``[H, W]``.

    These are the boundaries of all classes, since each pixel has one class.
    """
    # 0 is outside the image, the last id marks ignored pixels: both differ from all classes.
    padded = np.pad(np.where(counted, ids + 1, num_classes + 1), 1)
    padded = padded.astype(np.uint16 if num_classes < (1 << 16) - 2 else np.float32)
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    differs = cv2.dilate(padded, square) != cv2.erode(padded, square)
    return differs[1:-1, 1:-1] & counted
