"""Computations of the page: a question in, pictures and areas out."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
from mmengine.config import Config

from ..apis import (
    Segmentation,
    build_segmentor,
    is_trained,
    parse_classes,
)
from ..apis.inputs import LABELS
from ..apis.media import count_pixels, write_overlay
from ..apis.own_config import BACKGROUND_THD
from ..apis.segment import read_any, segment_array
from ..apis.shrinking import count_windows, describe_shrinking, is_shrunk
from ..apis.sizes import resize_steps, working_size
from ..apis.writers import write_labels
from ..datasets.class_list import split_synonyms
from ..models import CLIPSegmentor
from ..rasters.result import no_data_label
from ..utils.errors import InputError
from ..utils.shipped import configs_dir
from ..visualization import draw_classes, draw_overlay
from ..zoo import default_method, is_toy
from .examples import Example, drawings, photographs

LARGEST = 50_000_000  # pixels of a picture that the page takes
LARGEST_WITH_REGIONS = 12_000_000  # the same where regions are made of it: up to 6 s a million
LARGEST_NATIVE = 4_000_000  # the same where it is looked at at its own size: a minute a million
LONGEST = 4000  # characters of a list of classes
_DRIVER = 'GTiff'  # of maps: other formats may name further files of the server
_KEPT = 2  # segmentors, which share their towers: both sides of a comparison


@dataclass(frozen=True)
class Question:
    """A question that is asked on the page.

    Attributes:
        picture: File; None before there is one.
        classes: See :func:`..apis.parse_classes`.
        method: One of :func:`..apis.list_methods`.
        other: A second method to compare with; empty to compare with the picture itself.
        background: Whether there is a class of everything else.
        words: Its words, separated by commas; empty for the published ones.
        threshold: Score below which a pixel is background, 0 to 1.
        regions: What makes regions, see :func:`..apis.build_segmentor`; empty for none.
        size: At which the picture is looked at, see there; empty for the published one.
    """

    picture: str | None
    classes: str
    method: str
    other: str = ''
    background: bool = False
    words: str = ''
    threshold: float = BACKGROUND_THD
    regions: str = ''
    size: str = ''


class Area(NamedTuple):
    """A class that was found: its name, RGB colour, and share of the picture by each method."""

    name: str
    color: Sequence[int]
    shares: tuple[float, ...]


@dataclass
class Answer:
    """The answer to a question.

    Attributes:
        left: What the result is compared with: the picture, or the other method's result.
        right: The picture with the classes painted over it, of the same size.
        overlay: The same with a legend beside it.
        labels: Label map, PNG of class ids.
        areas: The classes that occur, the largest first.
        methods: The methods, in the order of the areas' shares.
        notice: What is to be known of it; empty for nothing.
    """

    left: Path
    right: Path
    overlay: Path
    labels: Path
    areas: list[Area]
    methods: tuple[str, ...]
    notice: str = ''


class Session:
    """Segments pictures for any number of users.

    Nothing of a question is kept but the segmentors used last, whose towers serve the next one:
    other classes, backgrounds, thresholds and methods of the same CLIP read no weights.

    Args:
        clip: CLIP by name or path; None for the toy CLIP of a clone, elsewhere the method's own.
            Trained systems read their published checkpoints.
        device: None for the accelerator where there is one.

    Attributes:
        is_toy: Whether the toy CLIP is used.
        method: The method to begin with.
        examples: Pictures to try.

    Raises:
        InputError: If the CLIP cannot be used.
    """

    def __init__(self, clip: str | None = None, device: str | None = None):
        self.clip, self.device = clip, device
        self._resclip_options: dict[str, Sequence[int]] = {}
        self._models: OrderedDict[Question, CLIPSegmentor] = OrderedDict()
        self._lock = threading.Lock()
        self._find_toy()
        self.is_toy = is_toy(self.clip)
        self.method = default_method(self.clip)
        self.examples: list[Example] = drawings() if self.is_toy else photographs()
        self.classes = self.examples[0].classes if self.examples else 'dog\ncat, kitten\ngrass\nsky'
        self.segmentor(Question(None, self.classes, self.method))

    def _find_toy(self) -> None:
        config = Config.fromfile(configs_dir() / 'toy/resclip-naclip_toy_voc20.py')
        encoder = config.model.image_encoder
        if self.clip is None and Path(encoder.clip).is_file():
            self.clip = encoder.clip
        if is_toy(self.clip):
            blocks = encoder.method.rcs.blocks
            self._resclip_options = {'model.image_encoder.method.rcs.blocks': blocks}

    def answer(self, question: Question, folder: str | Path) -> Answer:
        """Segment a picture.

        Args:
            question: What is asked for.
            folder: Where to write the pictures.

        Raises:
            InputError: If something is missing, too large or cannot be used.
        """
        if not question.picture:
            raise InputError('there is no picture: upload one, or choose an example')
        _check_lists(question)
        _check_size(Path(question.picture))
        if question.size:
            resize_steps([dict(type='Resize')], question.size)
            _check_size(Path(question.picture), LARGEST_NATIVE, f' at the size {question.size}')
        image, valid, _ = read_any(question.picture, driver=_DRIVER)
        methods = (question.method, *([question.other] if question.other else []))
        models = [self.segmentor(replace(question, method=name)) for name in methods]
        if any(model.regions is not None for model in models):
            _check_size(Path(question.picture), LARGEST_WITH_REGIONS, ' where it makes regions')
        start, size = time.monotonic(), question.size or None
        found = [segment_array(model, image, size=size) for model in models]
        for each in found:
            if valid is not None:
                each.labels[~valid] = no_data_label(len(each.class_names))
        notice = ''
        if size is None and is_shrunk(models[0], image.shape[:2]):
            seen = working_size(models[0].cfg.test_pipeline, image.shape[:2])
            windows = len(models) * count_windows(models[0], seen)
            seconds = (time.monotonic() - start) / windows
            notice = describe_shrinking(models[0], image.shape[:2], 'the picture', seconds)
        result, rgb = found[0], cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        # Pictures may be called left or right, and '..jpg', whose stem is the folder itself.
        sides, files = Path(folder, 'sides'), Path(folder, 'files')
        for inner in (sides, files):
            inner.mkdir(exist_ok=True)
        stem = files / (Path(question.picture).stem.strip('. ') or 'picture')
        labels = Path(f'{stem}{LABELS}.png')
        write_labels(result, labels)
        painted = [draw_classes(rgb, each.labels, each.class_names, each.palette) for each in found]
        legend = draw_overlay(rgb, result.labels, result.class_names, result.palette)
        return Answer(
            write_overlay(sides / 'left', painted[1] if question.other else rgb),
            write_overlay(sides / 'right', painted[0]),
            write_overlay(stem, legend),
            labels,
            list_areas(found),
            methods,
            notice,
        )

    def segmentor(self, question: Question) -> CLIPSegmentor:
        """The segmentor of a question, of towers that are there already as far as possible."""
        trained = is_trained(question.method)
        key = replace(question, picture=None, other='', size='')
        if trained or not question.background:
            key = replace(key, words='', threshold=BACKGROUND_THD)
        with self._lock:
            if key not in self._models:
                model = self._build(key, None if trained else self.clip)
                self._models[key] = model
                if len(self._models) > _KEPT:
                    self._models.popitem(last=False)
            self._models.move_to_end(key)
            return self._models[key]

    def _build(self, key: Question, clip: str | None) -> CLIPSegmentor:
        options: dict = {'model.test_cfg.seg_logits': False}
        if key.method.startswith('resclip'):
            options.update(self._resclip_options)
        if key.background and not is_trained(key.method):
            options['model.test_cfg.prob_thd'] = key.threshold
        words = [word for word in split_synonyms(key.words) if word.strip()]
        alike = [kept for kept in self._models if kept.method == key.method]
        share = self._models[alike[-1]] if alike else next(reversed(self._models.values()), None)
        return build_segmentor(
            parse_classes(key.classes),
            (words or True) if key.background else False,
            key.method,
            clip,
            self.device,
            options,
            key.regions or None,
            share,
        )


def list_areas(found: Sequence[Segmentation]) -> list[Area]:
    """Classes that occur in any of some segmentations of a picture, the first one's largest first.

    Args:
        found: Segmentations of the same classes; those of one may lack a background's class.
    """
    shares = [result.areas for result in found]
    colors: dict = {}
    for result in found:
        for name, color in zip(result.class_names, result.palette):
            colors.setdefault(name, color)
    areas = [
        Area(name, color, tuple(share.get(name, 0.0) for share in shares))
        for name, color in colors.items()
    ]
    return sorted((a for a in areas if any(a.shares)), key=lambda area: [-s for s in area.shares])


def _check_lists(question: Question) -> None:
    """Refuse lists of classes that are too long for the page, whose browser sends none."""
    longest = max(len(question.classes), len(question.words))
    if longest > LONGEST:
        raise InputError(
            f'a list of classes has {longest} characters, and the page takes {LONGEST}: shorten '
            'it, or segment the picture by tools/demo.py'
        )


def _check_size(path: Path, largest: int = LARGEST, when: str = '') -> None:
    """Refuse a picture of more pixels than the page takes, or of a number that is not known."""
    pixels = count_pixels(path)
    if not pixels and path.is_file() and cv2.haveImageReader(str(path)):
        raise InputError(
            f'{path} is of a format whose size is not known before it is read: save it as PNG or '
            'JPEG'
        )
    if pixels > largest:
        size = 'too many pixels' if pixels == math.inf else f'{pixels / 1e6:.0f} megapixels'
        raise InputError(
            f'{path} has {size}, and the page takes {largest / 1e6:.0f} megapixels{when}: make '
            'it smaller, or segment it by tools/demo.py'
        )
