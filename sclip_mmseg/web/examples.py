"""Example images, with suitable classes."""

from pathlib import Path
from typing import NamedTuple

from ..utils.shipped import shipped_root

_TOY = {
    'toy_000015.jpg': 'aeroplane\ncow\ncar\nmotorbike, scooter\nwall, brick wall',
    'toy_000003.jpg': 'sheep, lamb\nbottle\ncow\ntelevision\nsea, water',
    'toy_000026.jpg': 'bird\nhorse\nbicycle\nbus\npotted plant\nsofa\nsea, water',
}


class Example(NamedTuple):
    """An image, and classes for it, one per line."""

    image: Path
    classes: str


def photographs() -> list[Example]:
    """The photographs ``demo/*.jpg`` of a clone, with their classes in ``NAME.txt``."""
    images = sorted((shipped_root() / 'demo').glob('*.jpg'))
    lists = [image.with_suffix('.txt') for image in images]
    return [
        Example(image, classes.read_text(encoding='utf-8').strip())
        for image, classes in zip(images, lists)
        if classes.is_file()
    ]


def drawings() -> list[Example]:
    """Images of the toy benchmark of a clone."""
    folder = shipped_root() / 'data/toy/VOCdevkit/VOC2012/JPEGImages'
    found = [Example(folder / name, classes) for name, classes in _TOY.items()]
    return [example for example in found if example.image.is_file()]
