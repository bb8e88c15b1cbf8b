"""CLIPs and second towers of the Hub, and what their repositories' configs state of them.

Two kinds of CLIP are known: OpenCLIP's (``open_clip_config.json``) and those of ``transformers``
(``config.json``). Where a repository is both, OpenCLIP's files are read, which are the originals.
What a config leaves out is what the library that reads it takes then. A folder that holds a
repository's files is read likewise: see :func:`find_config`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import print_log

from ..utils.errors import InputError, join_first
from ..utils.file_kinds import kind_of_place
from ..utils.files import find_path
from ..utils.hub import HubName, NotCached, fetch_first, parse_name, pin
from .layouts import check_heads, clip_layouts
from .normalisation import CLIP, IMAGENET, Normalisation
from .positions import Rotary
from .tensor_files import read_tensors

Json = dict[str, Any]
Place = HubName | Path  # a repository, or a folder with the files of one

_OPEN_CLIP, _TRANSFORMERS = 'open_clip_config.json', 'config.json'
_WEIGHTS = {
    _OPEN_CLIP: ('open_clip_model.safetensors', 'open_clip_pytorch_model.bin'),
    _TRANSFORMERS: ('model.safetensors', 'pytorch_model.bin'),
}
_SUFFIXES = ('.pt', '.pth', '.bin', '.ckpt', '.safetensors')
_SPLIT = ('model.safetensors.index.json', 'pytorch_model.bin.index.json')
_PREPROCESSORS = ('preprocessor_config.json', 'processor_config.json')
#: What `transformers` calls QuickGELU and the exact GELU.
_QUICK = {'quick_gelu': True, 'gelu': False}
_VOCABULARY = 49408  # tokens of OpenAI's tokenizer

# Keys of OpenCLIP's towers that are read, or that the tensors tell, or without effect here. Others
# are of architectures that are not built here, unless they switch something off.
_OPEN_CLIP_KEYS = {
    'model_cfg': 'embed_dim vision_cfg text_cfg quick_gelu custom_text init_logit_scale'.split(),
    'vision_cfg': (
        'image_size layers width head_width mlp_ratio patch_size patch_dropout output_tokens'
    ).split(),
    'text_cfg': 'context_length vocab_size width heads layers mlp_ratio'.split(),
}
_WITHOUT_EFFECT = {'pool_type': ('tok', 'argmax'), 'pos_embed_type': ('learnable',)}


@dataclass(frozen=True)
class Stated:
    """What a repository's config states.

    Attributes:
        config: Name of the config.
        normalisation: Of the images that it was trained with; None where its weights tell.
        image: Of the image tower: ``width``, ``heads``, ``eps``, and of a CLIP ``quick_gelu``; what
            is left out, its weights tell.
        text: Of the text tower, the same; empty where there is none.
        text_problem: Why the text tower cannot be used; empty if it can.
    """

    config: str
    normalisation: Normalisation | None = None
    image: Mapping[str, Any] = field(default_factory=dict)
    text: Mapping[str, Any] = field(default_factory=dict)
    text_problem: str = ''


@dataclass(frozen=True)
class Repository:
    """A repository at its commit or a folder, what it states, and the file of its weights."""

    name: Place
    stated: Stated
    weights: Path


class ConfigBeside(NamedTuple):
    """A config beside a checkpoint.

    Attributes:
        path: The config.
        repository: What it states; None where it is not of the checkpoint.
        problem: Why it is not; empty where it is.
    """

    path: Path
    repository: Repository | None
    problem: str = ''


def clip_repository(clip: str | None, quick_gelu: bool | None = None) -> Repository | None:
    """Find what is stated of a CLIP: by its repository on the Hub, or by a config beside its path.

    Once per process, so that image and text tower are of one commit.

    Args:
        clip: See :func:`.checkpoint.load_clip`; None for a text tower that is no CLIP's.
        quick_gelu: What the user has set, in place of all that a config beside a path states.

    Returns:
        None where ``clip`` does not begin with ``hf:``, and is no path with a config.

    Raises:
        InputError: If the name is wrong, the repository cannot be fetched, or is no CLIP that is
            known; or a path's checkpoint cannot be read.
    """
    name = parse_name(clip)
    if name is not None:
        return _clip_repository(name)
    beside = config_beside(clip) if quick_gelu is None else None
    return beside and beside.repository


def find_weights(text: str | Path) -> Path | None:
    """The file of weights at a path, or the one in a folder; None where there is nothing.

    Raises:
        InputError: If there is something else.
    """
    path = find_path(text)
    place = path and kind_of_place(path)
    if place == 'a folder':
        return _weights_in(path)
    if place:
        raise InputError(f'{path} is {place}: give the path of a checkpoint')
    return path


def _weights_in(folder: Path) -> Path:
    """The file of weights in a folder: that of a repository of the Hub, or the only one."""
    for names in _WEIGHTS.values():
        if found := _find(folder, names):
            return found
    if _find(folder, _SPLIT):
        raise InputError(f'the weights in {folder} are split into several files, which is not read')
    files = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    if len(files) == 1:
        return files[0]
    if files:
        names = join_first([path.name for path in files], limit=5)
        raise InputError(f'{folder} is a folder of several checkpoints, give one of them: {names}')
    what = 'an unpacked file of torch.save' if _find(folder, ['data.pkl']) else 'a folder'
    raise InputError(
        f'{folder} is {what} without a checkpoint ({", ".join(_SUFFIXES)}): give the path of one'
    )


def find_config(clip: str | None) -> Path | None:
    """Find the config beside a CLIP's path, where that is named as in a repository of the Hub.

    Of two configs, the one of the library that names the weights so.
    """
    path = None if clip is None or parse_name(clip) else find_weights(clip)
    if path is None or not any(path.name in names for names in _WEIGHTS.values()):
        return None
    return _find(
        path.parent, sorted(_WEIGHTS, key=lambda config: path.name not in _WEIGHTS[config])
    )


def config_beside(clip: str) -> ConfigBeside | None:
    """Read the config that :func:`find_config` finds; None where it finds none.

    Raises:
        InputError: If the checkpoint cannot be read.
    """
    config = find_config(clip)
    return config and _config_beside(config.absolute(), find_weights(clip).absolute())


def proxy_repository(checkpoint: str) -> Repository | None:
    """Fetch a second tower from the Hub, as :func:`clip_repository` does a CLIP."""
    name = parse_name(checkpoint)
    return None if name is None else _proxy_repository(name)


def forget() -> None:
    """Ask the Hub anew, as a new process would."""
    _clip_repository.cache_clear()
    _proxy_repository.cache_clear()
    _config_beside.cache_clear()


@lru_cache(maxsize=8)
def _config_beside(config: Path, weights: Path) -> ConfigBeside:
    found = read_tensors(weights)
    layout, _ = clip_layouts(found, str(weights))
    width = layout.get('class_token', found, str(weights)).numel()
    read = {_OPEN_CLIP: _open_clip, _TRANSFORMERS: _transformers_clip}[config.name]
    try:
        stated = read(config.parent, _read_json(config, config.parent))
        check_heads(width, dict(stated.image), weights.name)
    except InputError as error:
        return ConfigBeside(config, None, str(error))
    return ConfigBeside(config, Repository(config.parent, stated, weights))


@lru_cache(maxsize=8)
def _clip_repository(name: HubName) -> Repository:
    name = _announce(name, pin(name, (_OPEN_CLIP, _TRANSFORMERS)))
    if open_clip := _fetch_optional(name, (_OPEN_CLIP,)):
        stated = _open_clip(name, _read_json(open_clip, name))
        if weights := _fetch_optional(name, _WEIGHTS[_OPEN_CLIP]):
            return Repository(name, stated, weights)
    stated = _transformers_clip(name, _transformers_config(name))
    return Repository(name, stated, _transformers_weights(name))


@lru_cache(maxsize=8)
def _proxy_repository(name: HubName) -> Repository:
    own = f'{name.repository.rpartition("/")[2]}.pt'  # of PE, without a config
    name = _announce(name, pin(name, (_TRANSFORMERS, own)))
    path = _fetch_optional(name, (_TRANSFORMERS,))
    config = {} if path is None else _read_json(path, name)
    if 'model_type' not in config and (weights := _fetch_optional(name, (own,))):
        return Repository(name, Stated(own), weights)
    source = f'{_TRANSFORMERS} of {name}'
    if _RADIO in (config.get('architectures') or ()):
        return Repository(name, _radio(config, source), _transformers_weights(name))
    kind = config.get('model_type')
    if kind not in _PROXIES:
        raise InputError(
            f'{source} states model_type={kind!r}, which is no DINO or DINOv2, DINOv3 or RADIO of '
            f'`transformers`: {", ".join(_PROXIES)}'
        )
    gated = bool(config.get('use_swiglu_ffn') or config.get('use_gated_mlp'))
    activation = config.get('hidden_act', 'gelu')
    known = 'silu' if config.get('use_gated_mlp') else 'gelu'
    if activation != known:
        raise InputError(f'{source} states hidden_act={activation!r}, only {known!r} is known')
    width, heads, eps = _PROXIES[kind]
    options = dict(
        width=_number(config, 'hidden_size', width, source),
        heads=_number(config, 'num_attention_heads', heads, source),
        eps=_number(config, 'layer_norm_eps', eps, source),
        gated=gated,
    )
    if kind == 'dinov3_vit':
        options['rotary'] = Rotary(_number(config, 'rope_theta', 100.0, source))
    # RADIO's images are normalised by values among its weights.
    normalisation = None if kind == 'radio' else _transformers_normalisation(name, IMAGENET)
    stated = Stated(_TRANSFORMERS, normalisation, options)
    return Repository(name, stated, _transformers_weights(name))


# model_type → width, heads and LayerNorm's eps where they are not stated
_PROXIES = {
    'vit': (768, 12, 1e-12),
    'dinov2': (768, 12, 1e-6),
    'dinov2_with_registers': (768, 12, 1e-6),
    'dinov3_vit': (384, 6, 1e-5),
    'radio': (1280, 16, 1e-6),
}
_RADIO = 'RADIOModel'  # of the programs in NVIDIA's repositories, which are not run


def _radio(config: Json, source: str) -> Stated:
    for key in ('feature_normalizer_config', 'vitdet_window_size'):
        if config.get(key):
            raise InputError(f'{source} states {key}={config[key]!r}, which is not built here')
    return Stated(_TRANSFORMERS)


def _announce(name: HubName, pinned: HubName) -> HubName:
    if name != pinned:
        print_log(f'{name} is commit {pinned.revision}', 'current')
    return pinned


def _open_clip(name: Place, config: Json) -> Stated:
    source = f'{_OPEN_CLIP} of {name}'
    model = _section(config, 'model_cfg', source)
    vision, text = (_section(model, f'{part}_cfg', source) for part in ('vision', 'text'))
    for key, part in (('model_cfg', model), ('vision_cfg', vision)):
        if unknown := _unknown(part, _OPEN_CLIP_KEYS[key]):
            raise InputError(
                f'{source} states {key}.{unknown}, which is not built here: use a plain ViT CLIP'
            )
    if isinstance(vision.get('layers'), list):
        raise InputError(f'{source} is of a ResNet CLIP, which has no patch tokens: use a ViT CLIP')
    unknown = _unknown(text, _OPEN_CLIP_KEYS['text_cfg'])
    quick_gelu = model.get('quick_gelu', False)  # OpenCLIP's default
    if not isinstance(quick_gelu, bool):
        raise InputError(f'{source} states quick_gelu={quick_gelu!r}, neither true nor false')
    width = _number(vision, 'width', 768, source)
    heads = width // _number(vision, 'head_width', 64, source)
    shared = dict(eps=1e-5, quick_gelu=quick_gelu)
    preprocess = config.get('preprocess_cfg') or {}
    normalisation = _normalisation(preprocess, 'mean', 'std', source, CLIP)
    return Stated(
        _OPEN_CLIP,
        normalisation,
        dict(width=width, heads=heads, **shared),
        dict(
            width=_number(text, 'width', 512, source),
            heads=_number(text, 'heads', 8, source),
            **shared,
        ),
        _text_problem(text, source, f'text_cfg.{unknown}' if unknown else ''),
    )


def _unknown(section: Json, known: Sequence[str]) -> str:
    """The first key, with its value, that is of another architecture; empty for none."""
    for key, value in section.items():
        if key not in known and value and value not in _WITHOUT_EFFECT.get(key, ()):
            return f'{key}={value!r}'
    return ''


def _transformers_clip(name: Place, config: Json) -> Stated:
    source = f'{_TRANSFORMERS} of {name}'
    kind = config.get('model_type')
    if kind not in ('clip', *_CLIPS_OF_OTHER_TEXTS):
        raise InputError(
            f'{source} states model_type={kind!r}, and {name} has no {_OPEN_CLIP}: only CLIPs '
            f"('clip', and the image towers of {', '.join(_CLIPS_OF_OTHER_TEXTS)}) are known"
        )
    towers = []
    for part, width, heads in (('vision', 768, 12), ('text', 512, 8)):  # where they are not stated
        # Of these two the first wins in `transformers`.
        stated = config.get(f'{part}_config_dict') or _section(config, f'{part}_config', source)
        activation = stated.get('hidden_act', 'quick_gelu')
        if activation not in _QUICK:
            raise InputError(
                f'{source} states {part}_config.hidden_act={activation!r}, only '
                f'{" and ".join(_QUICK)} are known'
            )
        towers.append(
            dict(
                width=_number(stated, 'hidden_size', width, source),
                heads=_number(stated, 'num_attention_heads', heads, source),
                eps=_number(stated, 'layer_norm_eps', 1e-5, source),
                quick_gelu=_QUICK[activation],
            )
        )
    image, text = towers
    return Stated(
        _TRANSFORMERS,
        _transformers_normalisation(name, CLIP),
        image,
        text,
        _text_problem(stated, source, f'model_type={kind!r}' if kind != 'clip' else ''),
    )


# CLIPs of `transformers` whose image towers are CLIP's, and whose text towers are others.
_CLIPS_OF_OTHER_TEXTS = ('metaclip_2', 'chinese_clip')


def _text_problem(text: Json, source: str, unknown: str = '') -> str:
    vocabulary = text.get('vocab_size', _VOCABULARY)
    if vocabulary != _VOCABULARY:
        unknown = f"vocab_size={vocabulary!r}, not the {_VOCABULARY} of OpenAI's tokenizer"
    if not unknown:
        return ''
    return (
        f'{source} states {unknown}: its text tower is not built here, give '
        'text_head.embeddings=FILE.npz'
    )


def _transformers_config(name: HubName) -> Json:
    path = fetch_first(name, (_TRANSFORMERS,))
    if path is None:
        raise InputError(f'{name} has no {" or ".join(_WEIGHTS[_OPEN_CLIP])}, and no config.json')
    return _read_json(path, name)


def _transformers_weights(name: HubName) -> Path:
    filenames = _WEIGHTS[_TRANSFORMERS]
    path = fetch_first(name, filenames)
    if path is None and _fetch_optional(name, _SPLIT):
        raise InputError(f'the weights of {name} are split into several files, which is not read')
    if path is None:
        raise InputError(f'{name} has no weights: none of {", ".join(filenames)}')
    return path


def _transformers_normalisation(name: Place, default: Normalisation) -> Normalisation:
    path = _fetch_optional(name, _PREPROCESSORS)
    config = {} if path is None else _read_json(path, name)
    config = config.get('image_processor') or config
    source = f'{path.name if path else _PREPROCESSORS[0]} of {name}'
    factor = _number(config, 'rescale_factor', 1 / 255, source)
    if not config.get('do_normalize', True) or abs(factor * 255 - 1) > 1e-3:
        raise InputError(
            f'{source} states do_normalize={config.get("do_normalize")} and rescale_factor='
            f'{factor}: only images that are normalised from 0 to 1 are known'
        )
    return _normalisation(config, 'image_mean', 'image_std', source, default)


def _normalisation(
    config: Json, mean: str, std: str, source: str, default: Normalisation
) -> Normalisation:
    """Read mean and standard deviation, or say that they are not stated."""
    if config.get(mean) is None and config.get(std) is None:
        print_log(f'{source} states no {mean} and {std}: taken as {tuple(default)}', 'current')
        return default
    found = []
    for key in (mean, std):
        values = config.get(key)
        if not isinstance(values, list) or len(values) != 3 or not all(map(_is_number, values)):
            raise InputError(f'{source} states {key}={values!r}, not three numbers')
        found.append(tuple(map(float, values)))
    if min(found[1]) <= 0:
        raise InputError(f'{source} states {std}={config[std]!r}, not three positive numbers')
    return Normalisation(*found)


def _find(folder: Path, filenames: Sequence[str]) -> Path | None:
    """The first file there is in a folder."""
    return next(filter(Path.is_file, map(folder.joinpath, filenames)), None)


def _fetch_optional(name: Place, filenames: tuple[str, ...]) -> Path | None:
    """The first file there is; a cache without it is taken as a repository without it."""
    if isinstance(name, Path):
        return _find(name, filenames)
    try:
        return fetch_first(name, filenames)
    except NotCached:
        return None


def _read_json(path: Path, name: Place) -> Json:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        remedy = '' if isinstance(name, Path) else f': delete {path}'  # to be fetched anew
        raise InputError(f'{path.name} of {name} is no JSON ({error}){remedy}') from error
    if not isinstance(content, dict):
        raise InputError(f'{path.name} of {name} holds a {type(content).__name__}, not a config')
    return content


def _section(config: Json, key: str, source: str) -> Json:
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise InputError(f'{source} states {key}={value!r}, not a section of values')
    return value


def _number(config: Json, key: str, default: float, source: str) -> Any:
    """A positive number, whole where the default is."""
    value = config.get(key, default)
    if not _is_number(value) or value <= 0 or isinstance(value, float) > isinstance(default, float):
        raise InputError(f'{source} states {key}={value!r}, not a positive number')
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
