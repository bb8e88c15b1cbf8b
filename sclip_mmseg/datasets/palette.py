"""Colours for any number of classes."""

from typing import List


def voc_palette(num_classes: int) -> List[List[int]]:
    """PASCAL VOC's colour map: distinct colours, black first.

    The bits of a class id are dealt out in turn to red, green and blue, from the highest bit of
    each colour down.

    Args:
        num_classes: How many colours.

    Returns:
        RGB triples of integers 0 to 255.
    """
    palette = []
    for class_id in range(num_classes):
        color = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                color[channel] |= (class_id >> (3 * bit + channel) & 1) << (7 - bit)
        palette.append(color)
    return palette
