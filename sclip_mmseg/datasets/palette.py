"""Colours for any number of classes."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import ImageColor

from ..utils.errors import InputError


def voc_palette(num_classes: int) -> list[list[int]]:
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


def choose_palette(
    palette: str | Sequence[str | Sequence[int]],
    class_names: Sequence[str],
    of_dataset: Sequence[Sequence[int]] | None = None,
) -> list[list[int]]:
    """A colour per class.

    Args:
        palette: ``'distinct'``, see :func:`distinct_palette`; ``'dataset'``, the same for classes
            outside a dataset; ``'voc'``, PASCAL VOC's colour map, black being the background's;
            or K colours such as ``'#ff8000'`` or ``[255, 128, 0]``, or a text of them, separated by
            commas.
        class_names: K names.
        of_dataset: K RGB triples of the dataset whose classes they are.

    Returns:
        K RGB triples.

    Raises:
        InputError: If it is none of these.
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
    """A colour per class of which no two look alike: those of :func:`bright_palette`.

    Args:
        class_names: K names; what is called ``background`` is black.

    Returns:
        K RGB triples.
    """
    colors = iter(bright_palette(len(class_names)))
    return [[0, 0, 0] if name == 'background' else next(colors) for name in class_names]


def bright_palette(num_classes: int) -> list[list[int]]:
    """Colours that are seen on photographs: bright, and as unlike one another as may be.

    The first 14 are chosen by eye on photographs; each further one is the bright colour, of levels
    that are 15 apart, that is furthest from all before it by CIEDE2000, in which 2 can just be
    seen: of 60 colours no two are nearer than 11, of 171 than 7. After 1500 colours they repeat.

    Args:
        num_classes: How many colours.

    Returns:
        RGB triples of integers 0 to 255, without black, white and grey.
    """
    colors = _bright_colors()
    return [list(colors[index % len(colors)]) for index in range(num_classes)]


@lru_cache(maxsize=1)
def _bright_colors() -> list[bytes]:
    text = Path(__file__).with_name('bright_colors.txt').read_text(encoding='ascii')
    return [bytes.fromhex(word) for word in text.split()]
