"""Configs, by path or by the name of a shipped config."""

import os.path as osp
import re
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.config import Config

from .custom import import_customs
from .old_names import CONFIGS
from .registry import type_name
from .utils.errors import InputError
from .utils.files import find_file
from .utils.shipped import configs_dir

SCOPE = 'sclip_mmseg::'
#: The CHECKPOINT argument that keeps the config's own checkpoint.
NO_CHECKPOINT = 'none'
_PREFIX = 'image_encoder.'  # the part of a segmentor whose weights are saved
# In a file, possibly below DistributedDataParallel's 'module.'. TCL's names have it further inside.
_STARTS_WITH_PREFIX = re.compile(rb'(?<![\w.])(?:module\.)?image_encoder\.')
# Segment Anything 1 and 2 have the same prefix, and a mask decoder beside it.
_SAM_PREFIXES = 'mask_decoder.', 'sam_mask_decoder.'
_STARTS_WITH_SAM = re.compile(rb'(?<![\w.])(?:sam_)?mask_decoder\.')


def set_checkpoint(cfg: Config, checkpoint: str) -> None:
    """Set the checkpoint that a config's model reads.

    Args:
        cfg: The config, modified in place.
        checkpoint: Name or path of the checkpoint. For a trained system it sets
            ``model.image_encoder.checkpoint``, otherwise it is a CLIP and sets
            ``model.image_encoder.clip`` (``model.text_head.clip`` for Talk2DINO, whose CLIP only
            encodes text). A file with the weights of a whole model sets ``load_from``. ``'none'``
            keeps the config's own, for programs that require a checkpoint (``mim test``).
    """
    if checkpoint == NO_CHECKPOINT:
        return
    path = find_file(checkpoint)
    if path is not None:
        with open(path, 'rb') as file:  # all formats store tensor names before the data
            head = file.read(1 << 22)
            # Most files lack the name entirely, which `in` detects a hundred times faster.
            saved = _PREFIX.encode() in head and _STARTS_WITH_PREFIX.search(head)
            if saved and not _STARTS_WITH_SAM.search(head):
                cfg.load_from = str(path)
                return
    model = cfg.model.get('module', cfg.model)  # test-time augmentation wraps the model
    place_checkpoint(model.image_encoder, model.text_head, checkpoint)


def place_checkpoint(encoder: dict, text_head: dict, checkpoint: str) -> None:
    """Set the checkpoint in the configs of an image encoder and a text head."""
    if 'checkpoint' in encoder:
        encoder['checkpoint'] = checkpoint
    elif 'tower' in encoder:  # not a CLIP tower
        text_head['clip'] = checkpoint
    else:
        encoder['clip'] = checkpoint


def check_shared_checkpoint(configs: Mapping[str, Config], option: str) -> None:
    """Check that models which are given one checkpoint read the same kind.

    Args:
        configs: Name of a method → its config.
        option: Option by which the user gave the checkpoint.

    Raises:
        InputError: If some models read a CLIP and others the checkpoint of a trained system, or of
            another one.
    """
    kinds: dict[str, str] = {}
    for name, cfg in configs.items():
        encoder = cfg.model.get('module', cfg.model).image_encoder
        kind = type_name(encoder).removesuffix('Encoder') if 'checkpoint' in encoder else 'CLIP'
        kinds.setdefault(kind, name)
    if len(kinds) > 1:
        needs = ', '.join(f'{name} needs a {kind}' for kind, name in kinds.items())
        raise InputError(f'{option} names one checkpoint, but {needs}: run them separately')


def named_weights(encoder: Mapping[str, Any]) -> str | None:
    """Name or path of an image encoder's weights, from its config."""
    tower = (encoder.get('tower') or {}).get('checkpoint')
    return encoder.get('checkpoint') or encoder.get('clip') or tower


def is_saved_model(tensors: Iterable[str]) -> bool:
    """Whether these are the tensor names of a whole segmentor rather than of a CLIP or SAM."""
    names = list(tensors)
    saved = any(name.startswith(_PREFIX) for name in names)
    return saved and not any(name.startswith(_SAM_PREFIXES) for name in names)


def read_config(name: str) -> Config:
    """Read a config.

    Args:
        name: A path, or a shipped config such as ``sclip_mmseg::sclip/NAME.py``.

    Raises:
        InputError: If there is no such config, or a module that it imports does not exist.
    """
    cfg = Config.fromfile(find_config(name), import_custom_modules=False)
    import_customs(cfg)
    return cfg


def merge_options(cfg: Config, options: Mapping[str, Any] | None) -> None:
    """Set values of a config, as ``--cfg-options`` does.

    Args:
        cfg: The config.
        options: Dotted key → value. An image ``scale`` may be a list, which is how the command
            line parses ``448,448``.

    Raises:
        InputError: If a key does not exist in the config.
    """
    found = dict(options or {})
    for key, value in found.items():
        if key.endswith('.scale') and isinstance(value, list):
            found[key] = tuple(value)  # mmcv requires a tuple
    try:
        cfg.merge_from_dict(found)
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f'--cfg-options do not fit {cfg.filename}: {error}') from error


def find_config(name: str) -> str:
    """Path of the config that :func:`read_config` reads.

    Raises:
        InputError: If there is no such config.
    """
    path = _locate(name)
    if osp.isfile(path):
        return path
    for pattern, (replacement, addition) in CONFIGS.items():
        successor = re.sub(pattern, replacement, name)
        if successor != name and osp.isfile(_locate(successor)):
            raise InputError(f'config {name} does not exist: use {successor}{addition}')
    where = f' in {configs_dir()}' if name.startswith(SCOPE) else ''
    raise InputError(f'config {name} does not exist{where}')


def _locate(name: str) -> str:
    return str(configs_dir() / name[len(SCOPE) :]) if name.startswith(SCOPE) else name
