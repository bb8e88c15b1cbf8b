"""Configs by path, or by the name of a shipped one."""

import os.path as osp
import re
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.config import Config

from .custom import import_customs
from .utils.errors import InputError
from .utils.files import find_file
from .utils.shipped import configs_dir

SCOPE = 'sclip_mmseg::'
#: The CHECKPOINT that stands for the config's own.
NO_CHECKPOINT = 'none'
_OWN = 'image_encoder.'  # the part of a segmentor whose weights are saved
# In a file; wrapped, as DistributedDataParallel does, too. TCL's names have it further inside.
_STARTS_WITH_OWN = re.compile(rb'(?<![\w.])(?:module\.)?image_encoder\.')


def set_checkpoint(cfg: Config, checkpoint: str) -> None:
    """Let a config's model read another checkpoint.

    Args:
        cfg: The config.
        checkpoint: By name or path, a trained system where the config is of one
            (``model.image_encoder.checkpoint``), else a CLIP (``model.image_encoder.clip``; of
            Talk2DINO, whose CLIP only reads texts, ``model.text_head.clip``), or a file of a whole
            model's weights (``load_from``); ``'none'``, for programs that ask for one
            (``mim test``), leaves the config's own.
    """
    if checkpoint == NO_CHECKPOINT:
        return
    path = find_file(checkpoint)
    if path is not None:
        with open(path, 'rb') as file:  # all formats have the names of tensors before their numbers
            head = file.read(1 << 22)
            # Most do not have the name at all, which `in` finds a hundred times faster.
            if _OWN.encode() in head and _STARTS_WITH_OWN.search(head):
                cfg.load_from = str(path)
                return
    model = cfg.model.get('module', cfg.model)  # of test-time augmentation's, too
    place_checkpoint(model.image_encoder, model.text_head, checkpoint)


def place_checkpoint(encoder: dict, text_head: dict, checkpoint: str) -> None:
    """Let the configs of an image encoder and a text head name another checkpoint."""
    if 'checkpoint' in encoder:
        encoder['checkpoint'] = checkpoint
    elif 'tower' in encoder:  # which is not a CLIP's
        text_head['clip'] = checkpoint
    else:
        encoder['clip'] = checkpoint


def named_weights(encoder: Mapping[str, Any]) -> str | None:
    """Sources of the weights of an image encoder, by its config."""
    tower = (encoder.get('tower') or {}).get('checkpoint')
    return encoder.get('checkpoint') or encoder.get('clip') or tower


def is_saved_model(tensors: Iterable[str]) -> bool:
    """Whether these are names of a segmentor's own weights, not of a CLIP's."""
    return any(name.startswith(_OWN) for name in tensors)


def read_config(name: str) -> Config:
    """Read a config.

    Args:
        name: A path, or a shipped config as ``sclip_mmseg::sclip/NAME.py``.

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
        options: Dotted key → value. A ``scale`` of images may be a list, which the command line
            makes of ``448,448``.

    Raises:
        InputError: If the config has no place for a key.
    """
    found = dict(options or {})
    for key, value in found.items():
        if key.endswith('.scale') and isinstance(value, list):
            found[key] = tuple(value)  # which mmcv takes
    try:
        cfg.merge_from_dict(found)
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f'--cfg-options do not fit {cfg.filename}: {error}') from error


def find_config(name: str) -> str:
    """Path of the config that :func:`read_config` reads.

    Raises:
        InputError: If there is no such config.
    """
    is_shipped = name.startswith(SCOPE)
    path = str(configs_dir() / name[len(SCOPE) :]) if is_shipped else name
    if osp.isfile(path):
        return path
    where = f' in {configs_dir()}' if is_shipped else ''
    raise InputError(f'config {name} does not exist{where}')
