"""Specs of towers, read from the configs beside their weights: on the Hub, or in folders.

Two kinds of CLIP are supported: OpenCLIP's (``open_clip_config.json``) and those of
``transformers`` (``config.json``). If a repository has both, OpenCLIP's files are read, which are
the originals. Missing values default to those of the respective library.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import print_log

from ..old_names import keep_old_names
from ..utils.errors import InputError
from ..utils.hub import HubName, NotCached, fetch_first
from .normalisation import CLIP, IMAGENET, Normalisation, Triple
from .positions import Rotary
from .text import VOCABULARY

keep_old_names(__name__, Stated='CheckpointSpec')

OPEN_CLIP, TRANSFORMERS = 'open_clip_config.json', 'config.json'
#: Config → file names of its weights.
WEIGHTS = {
    OPEN_CLIP: ('open_clip_model.safetensors', 'open_clip_pytorch_model.bin'),
    TRANSFORMERS: ('model.safetensors', 'pytorch_model.bin'),
}
#: File name of the weights of Meta's PE, which have no config; ``{}`` is the repository's name.
PE_WEIGHTS = '{}.pt'
SPLIT = ('model.safetensors.index.json', 'pytorch_model.bin.index.json')
_PREPROCESSORS = ('preprocessor_config.json', 'processor_config.json')
#: Names in `transformers` of QuickGELU and the exact GELU.
_QUICK = {'quick_gelu': True, 'gelu': False}

# Keys of OpenCLIP's towers that are read, can be inferred from the tensors, or have no effect here.
# Other keys belong to unsupported architectures, unless they switch something off.
_OPEN_CLIP_KEYS = {
    'model_cfg': 'embed_dim vision_cfg text_cfg quick_gelu custom_text init_logit_scale'.split(),
    'vision_cfg': (
        'image_size layers width head_width mlp_ratio patch_size patch_dropout output_tokens'
    ).split(),
    'text_cfg': 'context_length vocab_size width heads layers mlp_ratio'.split(),
}
_WITHOUT_EFFECT = {'pool_type': ('tok', 'argmax'), 'pos_embed_type': ('learnable',)}
# CLIPs of `transformers` with CLIP's image tower and another text tower.
_CLIPS_OF_OTHER_TEXTS = ('metaclip_2', 'chinese_clip')
# model_type → default width, heads and LayerNorm's eps
_SECOND_TOWERS = {
    'vit': (768, 12, 1e-12),
    'dinov2': (768, 12, 1e-6),
    'dinov2_with_registers': (768, 12, 1e-6),
    'dinov3_vit': (384, 6, 1e-5),
    'radio': (1280, 16, 1e-6),
}
_RADIO = 'RADIOModel'  # class in the code of NVIDIA's repositories, which is not run


@dataclass(frozen=True)
class CheckpointSpec:
    """Options of towers, as stated in a repository's config.

    Attributes:
        config: File name of the config.
        normalisation: Normalisation of the training images; None if it follows from the weights.
        image: Options of the image tower: ``width``, ``heads``, ``eps``, and ``quick_gelu`` of a
            CLIP; missing ones are inferred from the weights.
        text: The same options of the text tower; empty without a text tower.
        text_problem: Reason why the text tower cannot be used; empty if it can.
    """

    config: str
    normalisation: Normalisation | None = None
    image: Mapping[str, Any] = field(default_factory=dict)
    text: Mapping[str, Any] = field(default_factory=dict)
    text_problem: str = ''


class Section(NamedTuple):
    """Values of a config or one of its sections, and its name for error messages."""

    values: dict[str, Any]
    source: str

    def section(self, key: str) -> 'Section':
        """The section at a key; empty if it is missing."""
        value = self.values.get(key) or {}
        if not isinstance(value, dict):
            raise InputError(f'{self.source} states {key}={value!r}, not a section of values')
        return Section(value, self.source)

    def number(self, key: str, default: float) -> Any:
        """A positive number; an integer if the default is one."""
        value = self.values.get(key, default)
        whole = not isinstance(default, float)
        if not _is_number(value) or value <= 0 or (whole and isinstance(value, float)):
            raise InputError(f'{self.source} states {key}={value!r}, not a positive number')
        return value

    def normalisation(self, mean: str, std: str, default: Normalisation) -> Normalisation:
        """Read mean and standard deviation; if missing, log that the default is used."""
        if self.values.get(mean) is None and self.values.get(std) is None:
            message = f'does not state {mean} and {std}: {tuple(default)} is assumed'
            print_log(f'{self.source} {message}', 'current')
            return default
        found = Normalisation(self._triple(mean), self._triple(std))
        if min(found.std) <= 0:
            values = self.values[std]
            raise InputError(f'{self.source} states {std}={values!r}, not three positive numbers')
        return found

    def _triple(self, key: str) -> Triple:
        values = self.values.get(key)
        if not isinstance(values, list) or len(values) != 3 or not all(map(_is_number, values)):
            raise InputError(f'{self.source} states {key}={values!r}, not three numbers')
        red, green, blue = map(float, values)
        return red, green, blue

    def unknown(self, known: Sequence[str]) -> str:
        """The first key, with its value, of an unsupported architecture; empty if none."""
        for key, value in self.values.items():
            if key not in known and value and value not in _WITHOUT_EFFECT.get(key, ()):
                return f'{key}={value!r}'
        return ''


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


class Files(NamedTuple):
    """The files of a repository at a commit, or of a folder."""

    place: HubName | Path

    def find(self, *filenames: str, needed: bool = False) -> Path | None:
        """The first of several files that exists.

        Args:
            filenames: File names, in order of preference.
            needed: Whether it is an error if none is cached and the Hub cannot be reached;
                otherwise the repository is assumed to lack them.
        """
        if isinstance(self.place, Path):
            return next(filter(Path.is_file, map(self.place.joinpath, filenames)), None)
        try:
            return fetch_first(self.place, filenames)
        except NotCached:
            if needed:
                raise
            return None

    def read(self, *filenames: str) -> Section:
        """The config in the first of several files that exists; empty if none exists.

        Raises:
            InputError: If the file is not a JSON object.
        """
        path = self.find(*filenames)
        source = f'{path.name if path else filenames[0]} of {self.place}'
        if path is None:
            return Section({}, source)
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
        except (OSError, ValueError, RecursionError) as error:
            # Deleting a cached file downloads it again.
            remedy = '' if isinstance(self.place, Path) else f': delete {path}'
            raise InputError(f'{source} is not JSON ({error}){remedy}') from error
        if not isinstance(content, dict):
            raise InputError(f'{source} contains a {type(content).__name__}, not a config')
        return Section(content, source)

    def weights(self, config: str = TRANSFORMERS) -> Path:
        """Path of the weights that belong to a config.

        Raises:
            InputError: If the weights are missing or sharded.
        """
        path = self.find(*WEIGHTS[config], needed=True)
        if path is None and self.find(*SPLIT):
            raise InputError(
                f'the weights of {self.place} are sharded into several files, which is not '
                'supported: save them as one file'
            )
        if path is None:
            raise InputError(f'{self.place} has no weights: none of {", ".join(WEIGHTS[config])}')
        return path


def read_weights(files: Files) -> tuple[CheckpointSpec, Path]:
    """An empty spec, and the weights, of a repository whose options all follow from the tensors.

    Raises:
        InputError: If the repository has no weights.
    """
    return CheckpointSpec(TRANSFORMERS), files.weights()


def read_clip(files: Files) -> tuple[CheckpointSpec, Path]:
    """The spec and the weights of a repository with a CLIP.

    Raises:
        InputError: If it is not a supported CLIP.
    """
    if files.find(OPEN_CLIP):
        stated = read_clip_config(files, OPEN_CLIP)
        if weights := files.find(*WEIGHTS[OPEN_CLIP]):
            return stated, weights
    if files.find(TRANSFORMERS, needed=True) is None:
        names = ' or '.join(WEIGHTS[OPEN_CLIP])
        raise InputError(f'{files.place} has no {names}, and no config.json')
    return read_clip_config(files, TRANSFORMERS), files.weights()


def read_clip_config(files: Files, name: str) -> CheckpointSpec:
    """The spec in a CLIP's config, :data:`OPEN_CLIP` or :data:`TRANSFORMERS`.

    Raises:
        InputError: If it is not the config of a supported CLIP.
    """
    read = {OPEN_CLIP: _open_clip, TRANSFORMERS: _transformers_clip}[name]
    return read(files, files.read(name))


def _open_clip(files: Files, config: Section) -> CheckpointSpec:
    source = config.source
    model = config.section('model_cfg')
    vision, text = model.section('vision_cfg'), model.section('text_cfg')
    for key, part in (('model_cfg', model), ('vision_cfg', vision)):
        if unknown := part.unknown(_OPEN_CLIP_KEYS[key]):
            raise InputError(
                f'{source} states {key}.{unknown}, which is not supported: use a plain ViT CLIP'
            )
    if isinstance(vision.values.get('layers'), list):
        raise InputError(f'{source} is of a ResNet CLIP, which has no patch tokens: use a ViT CLIP')
    quick_gelu = model.values.get('quick_gelu', False)  # OpenCLIP's default
    if not isinstance(quick_gelu, bool):
        raise InputError(f'{source} states quick_gelu={quick_gelu!r}, neither true nor false')
    width, shared = vision.number('width', 768), dict(eps=1e-5, quick_gelu=quick_gelu)
    unknown = text.unknown(_OPEN_CLIP_KEYS['text_cfg'])
    preprocess = Section(config.values.get('preprocess_cfg') or {}, source)
    return CheckpointSpec(
        OPEN_CLIP,
        preprocess.normalisation('mean', 'std', CLIP),
        dict(width=width, heads=width // vision.number('head_width', 64), **shared),
        dict(width=text.number('width', 512), heads=text.number('heads', 8), **shared),
        _text_problem(text, f'text_cfg.{unknown}' if unknown else ''),
    )


def _transformers_clip(files: Files, config: Section) -> CheckpointSpec:
    source, kind = config.source, config.values.get('model_type')
    if kind not in ('clip', *_CLIPS_OF_OTHER_TEXTS):
        raise InputError(
            f'{source} states model_type={kind!r}, and {files.place} has no {OPEN_CLIP}: only '
            f"CLIPs ('clip', and the image towers of {', '.join(_CLIPS_OF_OTHER_TEXTS)}) are "
            'supported'
        )
    towers, text = [], config
    for part, width, heads in (('vision', 768, 12), ('text', 512, 8)):  # defaults
        # If both exist, `transformers` uses the first.
        key = (
            f'{part}_config_dict' if config.values.get(f'{part}_config_dict') else f'{part}_config'
        )
        text = config.section(key)
        activation = text.values.get('hidden_act', 'quick_gelu')
        if activation not in _QUICK:
            raise InputError(
                f'{source} states {part}_config.hidden_act={activation!r}, only '
                f'{" and ".join(_QUICK)} are supported'
            )
        towers.append(dict(_sizes(text, width, heads, 1e-5), quick_gelu=_QUICK[activation]))
    problem = f'model_type={kind!r}' if kind != 'clip' else ''
    image, own = towers
    normalisation = _transformers_normalisation(files, CLIP)
    return CheckpointSpec(TRANSFORMERS, normalisation, image, own, _text_problem(text, problem))


def _sizes(config: Section, width: int, heads: int, eps: float) -> dict[str, Any]:
    return dict(
        width=config.number('hidden_size', width),
        heads=config.number('num_attention_heads', heads),
        eps=config.number('layer_norm_eps', eps),
    )


def _text_problem(text: Section, unknown: str) -> str:
    vocabulary = text.values.get('vocab_size', VOCABULARY)
    if vocabulary != VOCABULARY:
        unknown = f"vocab_size={vocabulary!r}, not the {VOCABULARY} of OpenAI's tokenizer"
    if not unknown:
        return ''
    return (
        f'{text.source} states {unknown}: its text tower is not supported, set '
        'text_head.embeddings=FILE.npz'
    )


def _transformers_normalisation(files: Files, default: Normalisation) -> Normalisation:
    config = files.read(*_PREPROCESSORS)
    values = config.values.get('image_processor') or config.values
    config = config._replace(values=values)
    factor = config.number('rescale_factor', 1 / 255)
    if not values.get('do_normalize', True) or abs(factor * 255 - 1) > 1e-3:
        raise InputError(
            f'{config.source} states do_normalize={values.get("do_normalize")} and rescale_factor='
            f'{factor}: only normalisation of pixels from 0 to 1 is supported'
        )
    return config.normalisation('image_mean', 'image_std', default)


def read_second_tower(files: Files) -> tuple[CheckpointSpec, Path]:
    """The spec and the weights of a repository with an image tower other than CLIP's.

    Raises:
        InputError: If it is not a supported tower.
    """
    config = files.read(TRANSFORMERS)
    source, kind = config.source, config.values.get('model_type')
    own = PE_WEIGHTS.format(str(files.place).rpartition('/')[2])
    if 'model_type' not in config.values and (weights := files.find(own)):
        return CheckpointSpec(own), weights
    if _RADIO in (config.values.get('architectures') or ()):
        for key in ('feature_normalizer_config', 'vitdet_window_size'):
            if value := config.values.get(key):
                raise InputError(f'{source} states {key}={value!r}, which is not supported')
        return read_weights(files)
    if 'dinov3' in str(config.values.get('architecture')):  # timm's
        return read_weights(files)
    if kind not in _SECOND_TOWERS:
        raise InputError(
            f'{source} states model_type={kind!r}, which is not a DINO, DINOv2, DINOv3 or RADIO of '
            f'`transformers`: {", ".join(_SECOND_TOWERS)}'
        )
    silu = bool(config.values.get('use_gated_mlp'))
    activation, known = config.values.get('hidden_act', 'gelu'), 'silu' if silu else 'gelu'
    if activation != known:
        raise InputError(f'{source} states hidden_act={activation!r}, only {known!r} is supported')
    options = _sizes(config, *_SECOND_TOWERS[kind])
    options['gated'] = silu or bool(config.values.get('use_swiglu_ffn'))
    if kind == 'dinov3_vit':
        options['rotary'] = Rotary(config.number('rope_theta', 100.0))
    # RADIO's checkpoint contains its normalisation.
    normalisation = None if kind == 'radio' else _transformers_normalisation(files, IMAGENET)
    return CheckpointSpec(TRANSFORMERS, normalisation, options), files.weights()
