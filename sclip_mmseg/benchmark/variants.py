"""Name lists and protocols of ``sclip benchmark``."""

from typing import Any

from ..config import read_config
from ..datasets.background import Background
from ..datasets.benchmarks import BENCHMARKS
from ..models.decision import find_background
from ..models.test_cfg import read_test_cfg
from ..utils.errors import InputError
from ..utils.shipped import configs_dir

#: ``official`` is the query list of a method's config, ``plain`` mmseg's class names, one query
#: each.
NAMES = ('official', 'plain')
#: ``own`` is the protocol of a method's config, ``one`` that of
#: ``configs/_base_/protocols/one_*.py``.
PROTOCOLS = ('own', 'one')
# Plain lists for systems that need no query for the background, where they differ.
_WITHOUT_BACKGROUND = {
    'voc21': 'plain_voc20',
    'context60': 'plain_context59',
    'coco_object': 'things_coco_object',
}
_WINDOWS = ('mode', 'crop_size', 'stride')


def plain_names(config: str, benchmark: str) -> dict[str, Any]:
    """Options that set a config's queries to the plain names of a benchmark's classes.

    Args:
        config: Path of the config.
        benchmark: Name of the benchmark.

    Raises:
        InputError: If the benchmark is not in :data:`..datasets.benchmarks.BENCHMARKS`.
    """
    _check(config, benchmark, '--names plain')
    model = read_config(config).model
    rule = read_test_cfg(model.test_cfg).rule
    name = f'plain_{BENCHMARKS[benchmark].queries}'
    if find_background(model.image_encoder, rule.background) is Background.NO_QUERY:
        name = _WITHOUT_BACKGROUND.get(BENCHMARKS[benchmark].queries, name)
    options: dict[str, Any] = {'model.text_head.queries': name}
    if model.text_head.get('sentences') is not None:  # they belong to the official names
        options['model.text_head.sentences'] = None
    return options


def one_protocol(config: str, benchmark: str) -> tuple[dict[str, Any], str]:
    """Options that evaluate a config under the common protocol.

    Methods with sliding windows of another size than 224 pixels keep their windows; methods that do
    not resize images keep the images' size and their own windows; systems whose maps are scores
    keep their decision rule.

    Args:
        config, benchmark: See :func:`plain_names`.

    Returns:
        The options, and a note on what the method keeps, which may be empty.

    Raises:
        InputError: See :func:`plain_names`.
    """
    _check(config, benchmark, '--protocol one')
    own = read_config(config)
    one = read_config(str(configs_dir() / f'_base_/protocols/one_{benchmark}.py'))
    values, notes = dict(one.model.test_cfg), []
    test_cfg, steps = own.model.test_cfg, own.test_dataloader.dataset.pipeline
    resize = next((index for index, step in enumerate(steps) if step.type == 'Resize'), None)
    if resize is None:
        notes.append('images at their original size')
    if test_cfg.mode == 'slide' and test_cfg.crop_size != values['crop_size']:
        notes.append(f'own windows, {test_cfg.crop_size[0]} by {test_cfg.stride[0]}')
    elif resize is None:
        notes.append('no windows')
    if notes:
        for key in _WINDOWS:
            del values[key]
    if test_cfg.get('activation', '') is None:
        for key in ('logit_scale', 'prob_thd', 'area_thd'):
            del values[key]
        notes.append('own decision rule')
    options = {f'model.test_cfg.{key}': value for key, value in values.items()}
    if resize is not None:
        options[f'test_dataloader.dataset.pipeline.{resize}.scale'] = one.test_pipeline[1].scale
    return options, ', '.join(notes)


def _check(config: str, benchmark: str, option: str) -> None:
    if benchmark not in BENCHMARKS:
        raise InputError(
            f'{option} is for the benchmarks that sclip data check --help lists, and {config} is '
            'not of one'
        )
