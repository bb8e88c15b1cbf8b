"""Colours for any number of classes."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import ImageColor

from ..utils.errors import InputError


def voc_palette(num_classes: int) -> list[list[int]]:
    """PASCAL VOC's colour map: distinct colours, black first.

    The bits of a class id are assigned in turn to red, green and blue, starting at the highest bit
    of each colour.

    Args:
        num_classes: Number of colours.

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


def choose_palette(
    palette: str | Sequence[str | Sequence[int]],
    class_names: Sequence[str],
    of_dataset: Sequence[Sequence[int]] | None = None,
) -> list[list[int]]:
    """Choose a colour for each class.

    Args:
        palette: ``'distinct'``, see :func:`distinct_palette`; ``'dataset'``, the dataset's colours,
            or distinct ones without a dataset; ``'voc'``, PASCAL VOC's colour map, with black for
            the background; or K colours such as ``'#ff8000'`` or ``[255, 128, 0]``, also as a text
            with commas.
        class_names: K names.
        of_dataset: K RGB triples of the dataset of these classes.

    Returns:
        K RGB triples.

    Raises:
        InputError: If ``palette`` is none of these.
    """
    if palette == 'dataset' and of_dataset is not None:
        return [list(color) for color in of_dataset]
    if palette in ('distinct', 'dataset'):
        return distinct_palette(class_names)
    count = len(class_names)
    if palette == 'voc':
        return voc_palette(count) if class_names[0] == 'background' else voc_palette(count + 1)[1:]
    try:
        colors = palette.split(',') if isinstance(palette, str) else palette
        read = [list(ImageColor.getrgb(c.strip()) if isinstance(c, str) else c) for c in colors]
        fit = len(read) == count and all(len(c) == 3 and set(c) <= {*range(256)} for c in read)
    except (TypeError, ValueError):
        fit = False
    if not fit:
        raise InputError(
            'the palette (--palette, visualizer.palette) is neither distinct, dataset, voc, nor '
            f"{count} colours such as '#ff8000,#0080ff', one per class, background included"
        )
    return read


def distinct_palette(class_names: Sequence[str]) -> list[list[int]]:
    """A distinct colour per class, from :func:`bright_palette`.

    Args:
        class_names: K names; ``background`` is black.

    Returns:
        K RGB triples.
    """
    colors = iter(bright_palette(len(class_names)))
    return [[0, 0, 0] if name == 'background' else next(colors) for name in class_names]


def bright_palette(num_classes: int) -> list[list[int]]:
    """Bright colours that are visible on photographs and differ as much as possible.

    The first 14 were chosen by eye on photographs. Each further one is the bright colour, with
    levels in steps of 15, with the largest CIEDE2000 distance to all before it, where 2 is just
    noticeable: the smallest distance is 11 for 60 colours, and 7 for 171. Colours repeat after
    1500.

    Args:
        num_classes: Number of colours.

    Returns:
        RGB triples of integers 0 to 255, without black, white and grey.
    """
    colors = _bright_colors()
    return [list(colors[index % len(colors)]) for index in range(num_classes)]


@lru_cache(maxsize=1)
def _bright_colors() -> list[bytes]:
    text = Path(__file__).with_name('bright_colors.txt').read_text(encoding='ascii')
    return [bytes.fromhex(word) for word in text.split()]
