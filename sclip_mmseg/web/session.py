"""Computations of the page: from a request to images and areas."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

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
from ..old_names import OldAttribute, old_arguments
from ..rasters.result import no_data_label
from ..utils.errors import InputError
from ..utils.shipped import configs_dir
from ..visualization import draw_classes, draw_overlay
from ..zoo import METHODS, default_method, is_toy
from .examples import Example, drawings, photographs

LARGEST = 50_000_000  # maximum number of pixels
LARGEST_WITH_REGIONS = 12_000_000  # the same if regions are computed: up to 6 s per million
LARGEST_NATIVE = 4_000_000  # the same at the image's own size: a minute per million
LONGEST = 4000  # characters of a list of classes
_DRIVER = 'GTiff'  # only this for maps: other formats may name further files of the server
_KEPT = 2  # segmentors, which share their towers: the two sides of a comparison


@dataclass(frozen=True)
class Question:
    """A request of the page.

    Attributes:
        image: The image file; None before an upload.
        classes: The classes, see :func:`..apis.parse_classes`.
        method: One of :func:`..apis.list_methods`.
        other: A second method to compare with; empty to compare with the image itself.
        background: Whether there is a class for everything else.
        words: Background words, separated by commas; empty for the published ones.
        threshold: Score below which a pixel is background, 0 to 1.
        regions: Generator of regions, see :func:`..apis.build_segmentor`; empty for none.
        size: Working size, see :func:`..apis.build_segmentor`; empty for the published one.
    """

    image: str | None
    classes: str
    method: str
    other: str = ''
    background: bool = False
    words: str = ''
    threshold: float = BACKGROUND_THD
    regions: str = ''
    size: str = ''

    picture = OldAttribute('image')


# The dataclass makes it, so it cannot be decorated in the class.
Question.__init__ = old_arguments(picture='image')(Question.__init__)  # type: ignore[method-assign]


class Area(NamedTuple):
    """A class that occurs: its name, RGB colour, and share of the image by each method."""

    name: str
    color: Sequence[int]
    shares: tuple[float, ...]


@dataclass
class Answer:
    """The answer to a request.

    Attributes:
        left: Left side of the comparison: the image, or the other method's result.
        right: The image with the classes painted over it, of the same size.
        overlay: The same with a legend beside it.
        labels: Label map, a PNG of class ids.
        areas: The classes that occur, the largest first.
        methods: The methods, in the order of the areas' shares.
        notice: A message to show with the answer; empty for none.
    """

    left: Path
    right: Path
    overlay: Path
    labels: Path
    areas: list[Area]
    methods: tuple[str, ...]
    notice: str = ''


class Session:
    """Segments images for any number of users.

    Only the segmentors used last are kept between requests. The next request shares their towers,
    so that changes of classes, background, threshold or method of the same CLIP read no weights.

    Args:
        clip: CLIP by name or path; None for the toy CLIP of a clone, or the method's default
            without a clone. If ``method`` is a trained system, the checkpoint of this system (of
            Talk2DINO, its CLIP); other trained systems read their published checkpoints.
        device: Device of the models; None for the accelerator if there is one.
        method: The initial method; None for the default of the CLIP.
        cfg_options: Settings of the config of ``method`` by dotted keys, which methods with configs
            in the same folder share.

    Attributes:
        is_toy: Whether the toy CLIP is used.
        method: The initial method.
        examples: Example images.

    Raises:
        InputError: If the checkpoint, the method or a setting cannot be used.
    """

    def __init__(
        self,
        clip: str | None = None,
        device: str | None = None,
        method: str | None = None,
        cfg_options: dict[str, Any] | None = None,
    ):
        self.clip, self.device, self.cfg_options = clip, device, cfg_options or {}
        self.checkpoint: str | None = None
        self._resclip_options: dict[str, Sequence[int]] = {}
        if method is not None and is_trained(method):
            self.clip, self.checkpoint = None, clip
        else:
            self._find_toy()
        self._models: OrderedDict[Question, CLIPSegmentor] = OrderedDict()
        self._lock = threading.Lock()
        self.is_toy = is_toy(self.clip)
        self.method = method or default_method(self.clip)
        if self.method not in METHODS:
            raise InputError(
                f"method='{method}' (--method) is not a method of the page: name one that "
                'sclip methods lists'
            )
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
        """Answer a request.

        Args:
            question: The request.
            folder: Folder for the images.

        Raises:
            InputError: If something is missing, too large or invalid.
        """
        if not question.image:
            raise InputError('there is no image: upload one, or choose an example')
        _check_lists(question)
        _check_size(Path(question.image))
        if question.size:
            resize_steps([dict(type='Resize')], question.size)
            _check_size(Path(question.image), LARGEST_NATIVE, f' at the size {question.size}')
        image, valid, _ = read_any(question.image, driver=_DRIVER)
        methods = (question.method, *([question.other] if question.other else []))
        models = [self.segmentor(replace(question, method=name)) for name in methods]
        if any(model.regions is not None for model in models):
            _check_size(Path(question.image), LARGEST_WITH_REGIONS, ' with regions')
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
            notice = describe_shrinking(models[0], image.shape[:2], 'the image', seconds)
        result, rgb = found[0], cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        # Uploads may be called left or right, or '..jpg', whose stem is a folder.
        sides, files = Path(folder, 'sides'), Path(folder, 'files')
        for inner in (sides, files):
            inner.mkdir(exist_ok=True)
        stem = files / (Path(question.image).stem.strip('. ') or 'picture')
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
        """Get or build the segmentor of a request, sharing loaded towers if possible."""
        trained = is_trained(question.method)
        key = replace(question, image=None, other='', size='')
        if trained or not question.background:
            key = replace(key, words='', threshold=BACKGROUND_THD)
        with self._lock:
            if key not in self._models:
                model = self._build(key)
                self._models[key] = model
                if len(self._models) > _KEPT:
                    self._models.popitem(last=False)
            self._models.move_to_end(key)
            return self._models[key]

    def _build(self, key: Question) -> CLIPSegmentor:
        own = METHODS[key.method].split('/')[0] == METHODS[self.method].split('/')[0]
        clip = self.clip
        if is_trained(key.method):
            clip = self.checkpoint if own else None
        options: dict = {'model.test_cfg.seg_logits': False, **(self.cfg_options if own else {})}
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
    """Classes that occur in any of several segmentations of an image.

    Args:
        found: Segmentations into the same classes; one may lack the class background.

    Returns:
        The classes, in descending order of their shares in the first segmentation.
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
    """Refuse lists of classes that are too long; the page's text boxes do not allow them."""
    longest = max(len(question.classes), len(question.words))
    if longest > LONGEST:
        raise InputError(
            f'a list of classes has {longest} characters, and the page allows {LONGEST}: shorten '
            'it, or use sclip segment'
        )


def _check_size(path: Path, largest: int = LARGEST, when: str = '') -> None:
    """Refuse an image that is too large, or whose size is unknown before it is read."""
    pixels = count_pixels(path)
    if not pixels and path.is_file() and cv2.haveImageReader(str(path)):
        raise InputError(
            f'{path} is of a format whose size is not known before it is read: save it as PNG or '
            'JPEG'
        )
    if pixels > largest:
        size = 'too many pixels' if pixels == math.inf else f'{pixels / 1e6:.0f} megapixels'
        raise InputError(
            f'{path} has {size}, and the page allows {largest / 1e6:.0f} megapixels{when}: make '
            'it smaller, or use sclip segment'
        )
