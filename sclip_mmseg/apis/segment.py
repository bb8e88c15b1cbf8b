"""Own classes on own pictures, in one call."""

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Union

import numpy as np
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmseg.apis import inference_model
from mmseg.registry import MODELS

from ..datasets import QUERY_LISTS, load_queries, voc_palette
from ..datasets.query_set import Queries
from ..models import PLAIN_DICTS, CLIPSegmentor
from ..models.inference_cfg import InferenceCfg
from ..utils.errors import InputError
from ..utils.spelling import check_config
from ..zoo import METHODS, config_of
from .media import read_picture

BENCHMARK = 'voc20'  # whose config of a method is used
BACKGROUND_THD = 0.1  # as published for the benchmarks with a background


@dataclass
class Segmentation:
    """What was found in a picture.

    Attributes:
        labels: Class of each pixel, int64 ``[H, W]``.
        scores: Score of each class, float32 ``[K, H, W]``, 0 to 1; None where
            ``test_cfg.seg_logits=False`` leaves them out.
        class_names: K names.
        palette: K RGB triples.
    """

    labels: np.ndarray
    scores: Optional[np.ndarray]
    class_names: Sequence[str]
    palette: List[List[int]]

    @property
    def pixels(self) -> Dict[str, int]:
        """Number of pixels of each class."""
        counts = np.bincount(self.labels.flatten(), minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist()))

    @property
    def areas(self) -> Dict[str, float]:
        """Share of the picture that each class covers, 0 to 1."""
        return {name: count / self.labels.size for name, count in self.pixels.items()}


def list_methods() -> List[str]:
    """Names of the methods that :func:`build_segmentor` knows."""
    return list(METHODS)


def build_segmentor(
    classes: Queries,
    background: Union[bool, Sequence[str]] = False,
    method: str = 'sclip',
    clip: Optional[str] = None,
    device: Optional[str] = None,
    cfg_options: Optional[dict] = None,
) -> CLIPSegmentor:
    """Build a segmentor for own classes.

    Args:
        classes: See :func:`.datasets.load_queries`.
        background: Names of what is not wanted, which become class 0 together with all pixels whose
            best score is below 0.1; True for the 26 words of the published VOC21 list but those
            that are queries of a class.
        method: One of :func:`list_methods`.
        clip: A CLIP by name or path; None for the method's own, ViT-B/16.
        device: None for the accelerator where there is one.
        cfg_options: Further values of the config by dotted keys.

    Returns:
        The segmentor, ready for :func:`segment` and mmseg's ``inference_model``.

    Raises:
        InputError: If an argument cannot be used.
    """
    cfg = Config.fromfile(config_of(method, BENCHMARK))
    query_set = load_queries(classes)
    queries, names = query_set.by_class, list(query_set.class_names)
    # Black is the background's alone, unless a benchmark's palette says otherwise.
    shipped = isinstance(classes, str) and classes in QUERY_LISTS
    palette = query_set.palette if shipped else voc_palette(len(names) + 1)[1:]
    if background:
        words = list(background) if background is not True else _background_words(query_set.queries)
        queries.insert(0, words)
        names.insert(0, 'background')
        palette = [[0, 0, 0], *palette]
        cfg.model.test_cfg.prob_thd = BACKGROUND_THD
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two classes are called '{name}': rename one, or join their synonyms")
    cfg.model.text_head.queries = queries
    if clip:
        cfg.model.image_encoder.clip = clip
    cfg.merge_from_dict(cfg_options or {})
    check_config(cfg, PLAIN_DICTS)
    if (
        InferenceCfg.from_dict(cfg.model.test_cfg).needs_background
        and not background
        and names[0] != 'background'
    ):
        raise InputError(
            f"prob_thd and area_thd would turn pixels into class 0, '{names[0]}': ask for a "
            'background too (background=True, --background)'
        )
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.cfg = cfg
    model.dataset_meta = dict(classes=tuple(names), palette=palette)
    return model.to(device or get_device()).eval()


def _background_words(queries: Sequence[str]) -> List[str]:
    """The published words, without those that would always win over a class of the same name."""
    taken = {query.lower() for query in queries}
    return [word for word in load_queries('voc21').by_class[0] if word not in taken]


def parse_classes(text: str) -> Queries:
    """Read classes that somebody typed.

    Args:
        text: Classes separated by semicolons or line breaks, synonyms by commas; or the name of a
            shipped list.

    Returns:
        What :func:`build_segmentor` takes as ``classes``.

    Raises:
        InputError: If there is no class.
    """
    text = text.strip()
    if not text:
        raise InputError('there is no class: write some, separated by semicolons, as in: cat; dog')
    return text if text in QUERY_LISTS else text.replace(';', '\n').splitlines()


def segment(model: CLIPSegmentor, image: Union[str, Path, np.ndarray]) -> Segmentation:
    """Segment a picture.

    Args:
        model: From :func:`build_segmentor`.
        image: A path, or a BGR array uint8 ``[H, W, 3]`` as OpenCV reads it.

    Returns:
        Its segmentation, at its own size.

    Raises:
        InputError: If the file does not exist or is no picture.
    """
    if not isinstance(image, np.ndarray):
        image = read_picture(image)
    result = inference_model(model, image)
    return Segmentation(
        result.pred_sem_seg.data[0].cpu().numpy(),
        result.seg_logits.data.cpu().numpy() if 'seg_logits' in result else None,
        model.dataset_meta['classes'],
        model.dataset_meta['palette'],
    )
