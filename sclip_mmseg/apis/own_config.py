"""The config of a method for your own classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from typing import Any

from mmengine.config import Config

from ..config import merge_options, read_config, set_checkpoint
from ..custom import find_custom, import_customs, is_custom
from ..datasets import QUERY_LISTS, load_queries
from ..datasets.background import Background
from ..datasets.class_list import split_synonyms
from ..datasets.palette import choose_palette
from ..datasets.query_set import Queries, tokens_of
from ..memory import bank_regions
from ..models import PLAIN_DICTS
from ..models.test_cfg import read_test_cfg
from ..models.text_embeddings import read_embeddings
from ..regions import find_generator
from ..registry import POSTPROCESSORS, find_type, type_name
from ..utils.errors import InputError
from ..utils.shipped import configs_dir
from ..utils.spelling import check_config
from ..zoo import CUSTOM_BASE, METHODS, config_of

# Benchmarks whose configs of a method are used: one without a background if available.
BENCHMARK, WITH_BACKGROUND = 'voc20', 'voc21'
BACKGROUND_THD = 0.1  # as published for the benchmarks with a background
# TCL's. The published (8, 16) of SCLIP's PAMR skip the nearest pixels: a lattice of specks.
DILATIONS = (1, 2, 4, 8, 12, 24)
REGIONS = 'Felzenszwalb'  # default generator where regions are needed


@dataclass(frozen=True)
class OwnConfig:
    """A config with the user's classes.

    Attributes:
        cfg: The config; its dataset is still that of a benchmark.
        names: Names of the K classes.
        palette: K RGB triples.
        label_ids: Ids of the classes in label files, K; None where they are 0 to K - 1.
        synonyms: Queries of each class, K; empty for a background without words.
    """

    cfg: Config
    names: tuple[str, ...]
    palette: list[list[int]]
    label_ids: tuple[int, ...] | None
    synonyms: list[list[str]]


@cache
def is_trained(method: str) -> bool:
    """Whether a method is a trained system, i.e. has more weights than a CLIP's."""
    return bool({'checkpoint', 'tower'} & set(_read_config(method)[0].model.image_encoder))


def own_config(
    classes: Queries,
    background: bool | str | Sequence[str],
    method: str,
    clip: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    regions: str | dict | None = None,
) -> OwnConfig:
    """Put the user's classes and other settings into a method's config.

    Args:
        classes, background, method, clip, cfg_options, regions: See
            :func:`.segment.build_segmentor`.

    Raises:
        InputError: If an argument is invalid.
    """
    cfg, own_background = _read_config(method)
    query_set = load_queries(classes, warn=False)  # the text head warns, also of the background
    queries, names = query_set.by_class, list(query_set.class_names)
    label_ids = query_set.label_ids
    shipped = isinstance(classes, str) and classes in QUERY_LISTS
    if own_background and background and background is not True:
        raise InputError(
            f"method='{method}' has its own background, without words: use background=True "
            '(--background)'
        )
    if isinstance(background, str):
        background = split_synonyms(background)
    if background:
        label_ids = label_ids and (0, *label_ids)
        if label_ids and 0 in label_ids[1:]:
            raise InputError(
                f"'{names[label_ids.index(0, 1) - 1]}' has id 0, which is the background's: give "
                'it another id, or leave the background out'
            )
        names.insert(0, 'background')
    if own_background:
        cfg.merge_from_dict(own_background if background else dict.fromkeys(own_background))
    elif background:
        published, cfg.model.test_cfg.prob_thd = _published_background(method)
        words = (
            _background_words(query_set.queries, published)
            if background is True
            else list(background)
        )
        queries.insert(0, words)
    if len(names) == 1:
        raise InputError(
            f"every pixel would be '{names[0]}', the only class: semicolons separate classes (in "
            'Python: each item of the list is one), commas only synonyms, as in "cat, kitten; '
            'dog"; or add a background (background=True, --background)'
        )
    [(name, count)] = Counter(names).most_common(1)
    if count > 1:
        raise InputError(f"two classes are called '{name}': rename one, or join their synonyms")
    cfg.model.text_head.queries = classes if shipped and not background else queries
    if clip:
        set_checkpoint(cfg, clip)
    needs_regions = cfg.model.get('region_masks') is not None
    if regions is not None and cfg.model.get('postprocess') is None:
        cfg.model.postprocess = dict(type='RegionMajority')
    if regions is not None or needs_regions:  # the config's maps are for a benchmark's images
        cfg.model.region_masks = find_generator(REGIONS if regions is None else regions)
    if (cfg.model.get('refine') or {}).get('type') == 'PAMR':
        cfg.model.refine.dilations = DILATIONS
    merge_options(cfg, cfg_options)
    import_customs(cfg)
    check_config(cfg, PLAIN_DICTS)
    memory = cfg.model.get('memory')
    if memory and not cfg.model.get('region_masks'):
        cfg.model.region_masks = bank_regions(memory)
    correction = cfg.model.get('postprocess')
    if correction and not needs_regions:
        if _needs_regions(correction):
            cfg.model.region_masks = cfg.model.get('region_masks') or find_generator(REGIONS)
        elif regions is not None:
            raise InputError(
                f'regions (--regions) have no effect on {method}, whose labels '
                f'{type_name(correction)} corrects: leave them out, or use '
                "model.postprocess=dict(type='RegionMajority')"
            )
    _check_queries(cfg.model.text_head, queries)
    if (
        read_test_cfg(cfg.model.test_cfg).rule.background is Background.QUERIES
        and not background
        and names[0] != 'background'
    ):
        raise InputError(
            f"prob_thd and area_thd would turn pixels into class 0, '{names[0]}': add a "
            'background (background=True, --background)'
        )
    of_dataset = [*([[0, 0, 0]] if background else []), *query_set.palette] if shipped else None
    palette = choose_palette(cfg.visualizer.get('palette') or 'distinct', names, of_dataset)
    synonyms = [[]] * (len(names) - len(queries)) + queries
    return OwnConfig(cfg, tuple(names), palette, label_ids, synonyms)


def _needs_regions(correction: Mapping[str, Any]) -> bool:
    """Whether a label correction uses region maps."""
    return getattr(find_type(POSTPROCESSORS, correction['type']), 'needs_regions', False)


def _read_config(method: str) -> tuple[Config, dict[str, float]]:
    """Read a method's config, and the published values of its own background by dotted keys."""
    if method.endswith('.py'):
        own = read_config(method)
        return own, _own_background(own)
    options = {}
    if is_custom(method):
        options, method = find_custom(method).options, CUSTOM_BASE
    try:
        published = Config.fromfile(config_of(method, WITH_BACKGROUND))
    except InputError:
        if method not in METHODS:
            raise
        return _of_other_images(method), {}
    try:
        cfg = Config.fromfile(config_of(method, BENCHMARK))
    except InputError:  # its authors evaluate with a background only
        cfg = published
    cfg.merge_from_dict(options)
    return cfg, _own_background(published)


def _of_other_images(method: str) -> Config:
    """The config of a method whose authors use none of these benchmarks, without background.

    Images are resized as in the configs of :data:`..zoo.CUSTOM_BASE`.
    """
    cfg = Config.fromfile(config_of(CUSTOM_BASE, BENCHMARK))
    first = min(configs_dir().glob(METHODS[method].format('*')))
    cfg.model = Config.fromfile(first).model
    cfg.model.test_cfg.update(prob_thd=0.0, bg_idx=None)
    return cfg


def _own_background(cfg: Config) -> dict[str, float]:
    """The values of a background without words, by dotted keys."""
    values = {
        f'model.{part}.background': cfg.model[part].background
        for part in ('image_encoder', 'test_cfg')
        if cfg.model[part].get('background') is not None
    }
    if values and cfg.model.image_encoder.get('clean_background'):
        values['model.image_encoder.clean_background'] = True
    return values


def _check_queries(text_head: dict, queries: Sequence[Sequence[str]]) -> None:
    """Check that the text head's classes are the user's, whose names and colours are shown.

    Args:
        text_head: Config of the text head.
        queries: Queries of each of the user's classes.

    Raises:
        InputError: If the config's embeddings or queries belong to other classes.
    """
    if path := text_head.get('embeddings'):
        source, found = f"embeddings='{path}'", read_embeddings(path)[0].by_class
    elif text_head['queries'] != queries:
        source, found = 'queries', load_queries(text_head['queries']).by_class
    else:
        return
    for number, (theirs, asked) in enumerate(zip_longest(found, queries)):
        if set(theirs or ()) != set(asked or ()):
            raise InputError(
                f'class {number} is {_quote(theirs)} in text_head.{source}, but {_quote(asked)} in '
                'classes: name the same classes, with the same synonyms, in the same order'
            )


def _quote(words: Sequence[str] | None) -> str:
    return f"'{', '.join(words)}'" if words else 'none'


def _published_background(method: str) -> tuple[str, float]:
    """The list whose first class holds the background words, and the background's threshold."""
    if method in METHODS and is_trained(method):
        model = Config.fromfile(config_of(method, WITH_BACKGROUND)).model
        return model.text_head.queries, model.test_cfg.prob_thd
    return WITH_BACKGROUND, BACKGROUND_THD


def _background_words(queries: Sequence[str], published: str) -> list[str]:
    """The published words, without those that are queries of the user's classes."""
    taken = set(map(tokens_of, queries))
    return [word for word in load_queries(published).by_class[0] if tokens_of(word) not in taken]
