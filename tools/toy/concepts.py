"""Content of the images: VOC's classes by Unicode name, words for them, and captions."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from pictograms import Pictogram, is_person

#: VOC's classes in order → Unicode names of the pictograms that show them.
VOC_PICTOGRAMS: dict[str, tuple[str, ...]] = {
    'aeroplane': ('airplane', 'small airplane', 'airplane departure', 'airplane arrival'),
    'bicycle': ('bicycle',),
    'bird': (
        *('bird', 'dove', 'eagle', 'duck', 'parrot', 'flamingo', 'black bird', 'goose', 'swan'),
        *('chicken', 'rooster', 'turkey', 'owl', 'peacock', 'baby chick', 'penguin'),
    ),
    'boat': ('ship', 'sailboat', 'speedboat', 'motor boat', 'passenger ship', 'ferry'),
    'bottle': ('bottle with popping cork', 'baby bottle', 'lotion bottle', 'sake'),
    'bus': ('bus', 'oncoming bus', 'trolleybus', 'minibus'),
    'car': (
        *('automobile', 'oncoming automobile', 'sport utility vehicle', 'racing car', 'taxi'),
        *('oncoming taxi', 'police car', 'oncoming police car'),
    ),
    'cat': ('cat', 'cat face', 'black cat'),
    'chair': ('chair', 'seat'),
    'cow': ('cow', 'cow face', 'ox', 'water buffalo'),
    'diningtable': (),  # has no pictogram
    'dog': ('dog', 'dog face', 'poodle', 'guide dog', 'service dog'),
    'horse': ('horse', 'horse face'),
    'motorbike': ('motorcycle', 'motor scooter'),
    'person': (
        *('person standing', 'person walking', 'person running', 'man standing', 'woman standing'),
        *('man', 'woman', 'boy', 'girl', 'woman dancing', 'man dancing', 'man walking'),
    ),
    'pottedplant': ('potted plant',),
    'sheep': ('ewe', 'ram'),
    'sofa': ('couch and lamp',),
    'train': (
        *('locomotive', 'train', 'high-speed train', 'bullet train', 'metro', 'railway car'),
        *('light rail', 'tram', 'tram car'),
    ),
    'tvmonitor': ('television', 'desktop computer'),
}

#: VOC's classes → names of monochrome icons that show them, without suffixes like ``-filled``.
VOC_ICONS: dict[str, tuple[str, ...]] = {
    'aeroplane': ('airplane', 'plane', 'airplanemode-active', 'flight'),
    'bicycle': ('bicycle', 'bike', 'pedal-bike'),
    'bird': ('bird', 'dove', 'duck', 'chicken', 'owl', 'crow', 'penguin', 'swan', 'rooster'),
    'boat': ('boat', 'ship', 'sailboat', 'sail-boat', 'ferry', 'sailing', 'speed-boat', 'caravel'),
    'bottle': (
        *('bottle', 'wine-bottle', 'bottle-wine', 'water-bottle', 'beer-bottle', 'baby-bottle'),
        *('champagne', 'milk-bottle'),
    ),
    'bus': (
        *('bus', 'school-bus', 'bus-front', 'directions-bus', 'bus-side', 'bus-school', 'bus-alt'),
        'bus-double-decker',
    ),
    'car': (
        *('car', 'automobile', 'taxi', 'car-side', 'city-car', 'directions-car', 'jeep'),
        *('sedan-car', 'car-sport', 'car-profile', 'sport-car', 'police-car'),
    ),
    'cat': ('cat', 'black-cat', 'cats', 'cat-face'),
    'chair': (
        *('chair', 'chair-alt', 'wooden-chair', 'armchair', 'office-chair', 'rocking-chair'),
        *('desk-chair', 'chair-rolling'),
    ),
    'cow': ('cow', 'cow-face', 'cattle', 'bull', 'ox'),
    'dog': ('dog', 'dog-side', 'sitting-dog', 'dog-face', 'labrador-head', 'corgi', 'jumping-dog'),
    'horse': ('horse', 'horse-head', 'horse-variant', 'horse-face', 'cavalry'),
    'motorbike': ('motorbike', 'motorcycle', 'moped', 'scooter', 'two-wheeler', 'moped-front'),
    'person': (
        *('person', 'human', 'man', 'woman', 'walk', 'person-walking', 'person-standing', 'girl'),
        *('human-male', 'human-female', 'person-simple', 'boy', 'walking', 'directions-walk'),
    ),
    'pottedplant': ('potted-plant', 'houseplant', 'flower-pot', 'bonsai-tree', 'potted-flower'),
    'sheep': ('sheep', 'ram', 'lamb'),
    'sofa': ('sofa', 'couch', 'sofa-single', 'loveseat'),
    'train': (
        *('train', 'locomotive', 'tram', 'subway', 'metro', 'train-front', 'train-simple'),
        *('train-regional', 'railway', 'steam-locomotive', 'tram-side', 'train-subway'),
        *('train-tram', 'directions-subway'),
    ),
    'tvmonitor': (
        *('tv', 'television', 'monitor', 'desktop', 'computer', 'tv-retro', 'tv-simple'),
        *('television-classic', 'desktop-computer', 'television-simple', 'tv-old', 'retro-tv'),
    ),
}

#: Words for a class in captions: VOC's, COCO's and everyday ones.
VOC_WORDS: dict[str, tuple[str, ...]] = {
    'aeroplane': ('aeroplane', 'airplane', 'plane'),
    'bicycle': ('bicycle', 'bike'),
    'bird': ('bird',),
    'boat': ('boat', 'ship'),
    'bottle': ('bottle',),
    'bus': ('bus',),
    'car': ('car', 'automobile'),
    'cat': ('cat',),
    'chair': ('chair',),
    'cow': ('cow',),
    'diningtable': ('table', 'dining table'),
    'dog': ('dog',),
    'horse': ('horse',),
    'motorbike': ('motorbike', 'motorcycle'),
    'person': (
        *('person', 'person', 'person in shirt', 'person in jeans', 'person in dress'),
        *('person in sweater', 'person in skirt', 'person in jacket', 'man', 'woman'),
    ),
    'pottedplant': ('pottedplant', 'potted plant', 'houseplant'),
    'sheep': ('sheep',),
    'sofa': ('sofa', 'couch'),
    'train': ('train',),
    'tvmonitor': ('television monitor', 'tv monitor', 'monitor', 'television', 'screen'),
}

#: Words for other pictograms that their Unicode name lacks.
OTHER_WORDS: dict[str, tuple[str, ...]] = {
    'fork and knife with plate': ('table', 'dining table', 'table with a plate'),
    'deciduous tree': ('tree',),
    'evergreen tree': ('tree', 'evergreen tree'),
    'mountain': ('mountain', 'hill'),
    'snow-capped mountain': ('mountain',),
    'light bulb': ('lamp', 'light bulb'),
    'house': ('house', 'building'),
    'office building': ('building', 'office building'),
    'wood': ('wood',),
    'ladder': ('ladder', 'stair'),
    'railway track': ('rail', 'railway track'),
    'file cabinet': ('file cabinet', 'wardrobe'),
}

#: Kinds of background textures → words.
BACKGROUND_WORDS: dict[str, tuple[str, ...]] = {
    'sky': ('sky', 'cloud', 'clouds'),
    'grass': ('grass',),
    'sea': ('sea', 'river', 'water'),
    'sand': ('sands', 'sand'),
    'wall': ('wall', 'brick wall'),
    'wood': ('wood', 'floor', 'wooden floor'),
    'road': ('road', 'street'),
    'curtain': ('curtain',),
    'fence': ('fence',),
    'plain': (),
}

_SINGLE = (
    *('a photo of a {}.', 'a picture of a {}.', 'a {}', '{}', 'there is a {} here', 'one {}'),
    *('a bad photo of a {}.', 'a photo of many {}.', 'a photo of the {}.', 'a rendering of a {}.'),
    *('a low resolution photo of the {}.', 'a cropped photo of the {}.', 'a tattoo of a {}.'),
    *('a bright photo of a {}.', 'a drawing of a {}.', 'a close-up photo of a {}.', 'the {}'),
    *('a photo of a clean {}.', 'a dark photo of the {}.', 'a photo of my {}.', 'itap of a {}.'),
    *('the origami {}.', 'a sketch of a {}.', 'a {} in a video game.', 'a toy {}.', 'art of a {}.'),
    *('a photo of a large {}.', 'a photo of a small {}.', 'a cartoon {}.', 'a plushie {}.'),
    *('a jpeg corrupted photo of a {}.', 'a blurry photo of the {}.', 'a photo of one {}.'),
    *('a photo of a cool {}.', 'a photo of a nice {}.', 'a photo of a weird {}.', 'a good {}.'),
    *('graffiti of a {}.', 'an embroidered {}.', 'a doodle of a {}.', 'a pixelated {}.'),
)
_SEVERAL = ('a photo of {}.', 'a picture with {}', '{}', 'a scene with {}.', 'you can see {}')
_ON = ('{} on {}', '{} and {}', '{} in front of {}', '{} with {}')
_MIN_STYLES = 5  # of a pictogram besides VOC's
_MAX_OBJECTS = 3  # in a caption
_VOC_SHARE = 0.7  # of the drawn pictograms


def select(pictograms: Sequence[Pictogram]) -> list[Pictogram]:
    """Select VOC's pictograms, and others that exist in many styles and do not show a person."""
    styles = Counter(pictogram.name for pictogram in pictograms)
    voc = set(sum(VOC_PICTOGRAMS.values(), ()))
    return [
        pictogram
        for pictogram in pictograms
        if pictogram.name in voc
        or (styles[pictogram.name] >= _MIN_STYLES and not is_person(pictogram.name))
    ]


class Vocabulary:
    """Facts about images, as integers: one per Unicode name, VOC class and background kind.

    Args:
        names: Unicode names of the pictograms used besides VOC's.
    """

    def __init__(self, names: Sequence[str]):
        self.words: list[tuple[str, ...]] = []
        self._facts: dict[tuple[str, str], int] = {}
        for name, words in VOC_WORDS.items():
            self._add('voc', name, words)
        for kind, words in BACKGROUND_WORDS.items():
            self._add('background', kind, words)
        for name in sorted({*names, *sum(VOC_PICTOGRAMS.values(), ())}):
            self._add('name', name, OTHER_WORDS.get(name, (name,)))
        self._voc_of = {
            name: voc_class
            for voc_class, names in VOC_PICTOGRAMS.items()
            for name in (voc_class, *names)
        }

    def __len__(self) -> int:
        return len(self.words)

    def _add(self, space: str, name: str, words: tuple[str, ...]) -> None:
        self._facts[space, name] = len(self.words)
        self.words.append(words)

    def draw(self, rng: np.random.Generator, count: int, backgrounds: bool) -> list[int]:
        """List the facts of all classes, optionally of all backgrounds, and ``count`` others."""
        classes, basic = len(VOC_WORDS), len(VOC_WORDS) + len(BACKGROUND_WORDS)
        others = rng.choice(len(self) - basic, min(count, len(self) - basic), replace=False) + basic
        facts = [*range(basic if backgrounds else classes), *others.tolist()]
        return [fact for fact in facts if self.words[fact]]

    def of_object(self, name: str) -> list[int]:
        """List the facts that a pictogram shows, with its VOC class first."""
        facts = [self._facts['name', name]] if ('name', name) in self._facts else []
        if name in self._voc_of:
            facts.insert(0, self._facts['voc', self._voc_of[name]])
        return facts

    def of_background(self, kind: str) -> list[int]:
        """List the fact that a background shows; empty for a plain one."""
        return [self._facts['background', kind]] if BACKGROUND_WORDS[kind] else []


def write_caption(
    rng: np.random.Generator, vocabulary: Vocabulary, names: Sequence[str], kind: str
) -> tuple[str, list[int]]:
    """Describe some of the objects in an image, and sometimes its background.

    Args:
        rng: Random generator.
        vocabulary: Facts and their words.
        names: Unicode names of the visible objects.
        kind: Kind of the background.

    Returns:
        The caption, and the facts that it states.
    """
    background = vocabulary.of_background(kind)
    count = min(len(names), int(rng.integers(1, _MAX_OBJECTS + 1))) if names else 0
    facts = []
    for index in rng.permutation(len(names))[:count]:
        options = vocabulary.of_object(names[index])
        # The word of the class with probability 0.75, otherwise the pictogram's own name.
        facts.append(options[0] if rng.random() < 0.75 else options[-1])
    phrases = [_pick(rng, vocabulary.words[fact]) for fact in facts]
    with_background = background and (not phrases or rng.random() < 0.25)
    if not phrases and not background:
        return _pick(rng, ('a photo', 'a pattern', 'a plain background')), []
    if len(phrases) == 1 and not with_background:
        return _pick(rng, _SINGLE).format(phrases[0]), facts
    text = ' and '.join(f'a {phrase}' for phrase in phrases)
    if with_background:
        word = _pick(rng, vocabulary.words[background[0]])
        facts = facts + background
        if not text:
            return _pick(rng, _SINGLE).format(word), facts
        text = _pick(rng, _ON).format(text, word)
    return _pick(rng, _SEVERAL).format(text), facts


def name_one(rng: np.random.Generator, vocabulary: Vocabulary, fact: int) -> str:
    """Write a text that states one fact."""
    return _pick(rng, _SINGLE).format(_pick(rng, vocabulary.words[fact]))


def _pick(rng: np.random.Generator, options: Sequence):
    return options[int(rng.integers(len(options)))]


class Sampler:
    """Draws pictograms: VOC's classes with a fixed share, uniformly within each group.

    Args:
        pictograms: Pictograms to draw from.
        icons: Icons named after VOC's classes, used for half of the draws of a class that has any.
    """

    def __init__(self, pictograms: Sequence[Pictogram], icons: Sequence[Pictogram]):
        by_name, icons_of = _index_by_name(pictograms), _index_by_name(icons)
        self.voc = []
        for voc_class, names in VOC_PICTOGRAMS.items():
            drawings = [by_name.pop(name) for name in names if name in by_name]
            symbols = [index + len(pictograms) for index in icons_of.get(voc_class, ())]
            if drawings:
                self.voc.append((drawings, symbols or drawings[0]))
        self.others = list(by_name.values())

    def draw(self, rng: np.random.Generator) -> int:
        """Draw an index into pictograms and icons: class, then name, then style."""
        if not self.others or rng.random() < _VOC_SHARE:
            drawings, symbols = _pick(rng, self.voc)
            return _pick(rng, symbols if rng.random() < 0.5 else _pick(rng, drawings))
        return _pick(rng, _pick(rng, self.others))


def _index_by_name(pictograms: Sequence[Pictogram]) -> dict[str, list[int]]:
    by_name: dict[str, list[int]] = {}
    for index, pictogram in enumerate(pictograms):
        by_name.setdefault(pictogram.name, []).append(index)
    return by_name
