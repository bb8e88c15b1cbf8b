"""Configs by path, or by the name of a shipped one."""

import os.path as osp
import re
from collections.abc import Iterable
from pathlib import Path

from mmengine.config import Config

from .utils.errors import InputError
from .utils.files import find_file
from .utils.shipped import configs_dir

SCOPE = 'sclip_mmseg::'
#: The CHECKPOINT that stands for the config's own.
NO_CHECKPOINT = 'none'
_OWN = 'image_encoder.'  # the part of a segmentor whose weights are saved
# In a file; wrapped, as DistributedDataParallel does, too. TCL's names have it further inside.
_STARTS_WITH_OWN = re.compile(rb'(?<![\w.])(?:module\.)?image_encoder\.')
#: Configs of another backbone that version 0.1 had, and the CHECKPOINT that replaces them.
_REPLACED = re.compile(r'_vit-l14_(?=[\w-]+\.py$)')
_CHECKPOINT = 'ViT-L/14'


def set_checkpoint(cfg: Config, checkpoint: str) -> None:
    """Let a config's model read another checkpoint.

    Args:
        cfg: The config.
        checkpoint: By name or path, a trained system where the config is of one
            (``model.image_encoder.checkpoint``), else a CLIP (``model.image_encoder.clip``), or a
            file of a whole model's weights (``load_from``); ``'none'``, for programs that ask for
            one (``mim test``), leaves the config's own.
    """
    if checkpoint == NO_CHECKPOINT:
        return
    path = find_file(checkpoint)
    if path is not None and _holds_saved_model(path):
        cfg.load_from = str(path)
        return
    encoder = cfg.model.get('module', cfg.model).image_encoder  # of test-time augmentation's, too
    encoder[checkpoint_key(encoder)] = checkpoint


def checkpoint_key(encoder: dict) -> str:
    """The key of an image encoder's config that names what its weights are read from."""
    return 'checkpoint' if 'checkpoint' in encoder else 'clip'


def is_saved_model(tensors: Iterable[str]) -> bool:
    """Whether these are names of a segmentor's own weights, not of a CLIP's."""
    return any(name.startswith(_OWN) for name in tensors)


def _holds_saved_model(path: Path) -> bool:
    """The same of a file: all formats have the names of tensors before their numbers."""
    with open(path, 'rb') as file:
        return _STARTS_WITH_OWN.search(file.read(1 << 22)) is not None


def read_config(name: str) -> Config:
    """Read a config.

    Args:
        name: A path, or a shipped config as ``sclip_mmseg::sclip/NAME.py``.

    Raises:
        InputError: If there is no such config.
    """
    return Config.fromfile(find_config(name))


def find_config(name: str) -> str:
    """Path of the config that :func:`read_config` reads.

    Raises:
        InputError: If there is no such config.
    """
    path = _locate(name)
    if osp.isfile(path):
        return path
    successor = _REPLACED.sub('_vit-b16_', name)
    if successor != name and osp.isfile(_locate(successor)):
        raise InputError(f'config {name} does not exist: use {successor} {_CHECKPOINT}')
    where = f' in {configs_dir()}' if name.startswith(SCOPE) else ''
    raise InputError(f'config {name} does not exist{where}')


def _locate(name: str) -> str:
    if name.startswith(SCOPE):
        return str(configs_dir() / name[len(SCOPE) :])
    return name
