"""Pictures to try, with classes that fit them."""

from pathlib import Path
from typing import NamedTuple

from ..utils.shipped import shipped_root

_TOY = {
    'toy_000015.jpg': 'aeroplane\ncow\ncar\nmotorbike, scooter\nwall, brick wall',
    'toy_000003.jpg': 'sheep, lamb\nbottle\ncow\ntelevision\nsea, water',
    'toy_000026.jpg': 'bird\nhorse\nbicycle\nbus\npotted plant\nsofa\nsea, water',
}


class Example(NamedTuple):
    """A picture, and classes for it, one per line."""

    picture: Path
    classes: str


def photographs() -> list[Example]:
    """The photographs ``demo/*.jpg`` of a clone with the classes beside them, ``NAME.txt``."""
    pictures = sorted((shipped_root() / 'demo').glob('*.jpg'))
    lists = [picture.with_suffix('.txt') for picture in pictures]
    return [
        Example(picture, classes.read_text(encoding='utf-8').strip())
        for picture, classes in zip(pictures, lists)
        if classes.is_file()
    ]


def drawings() -> list[Example]:
    """Pictures of the toy benchmark, in a clone."""
    folder = shipped_root() / 'data/toy/VOCdevkit/VOC2012/JPEGImages'
    found = [Example(folder / name, classes) for name, classes in _TOY.items()]
    return [example for example in found if example.picture.is_file()]
