"""Configs by path, or by the name of a shipped one."""

import os.path as osp

from mmengine.config import Config
from mmengine.hub import get_config

from .utils.errors import InputError


def set_checkpoint(cfg: Config, checkpoint: str) -> None:
    """Let a config's image encoder read another checkpoint.

    Args:
        cfg: The config.
        checkpoint: By name or path, a trained system where the config is of one
            (``model.image_encoder.checkpoint``), else a CLIP (``model.image_encoder.clip``).
    """
    encoder = cfg.model.image_encoder
    encoder['checkpoint' if 'checkpoint' in encoder else 'clip'] = checkpoint


def read_config(name: str) -> Config:
    """Read a config.

    Args:
        name: A path, or a shipped config as ``sclip_mmseg::sclip/NAME.py``.

    Raises:
        InputError: If there is no such config.
    """
    if '::' not in name:
        if not osp.isfile(name):
            raise InputError(f'config {name} does not exist')
        return Config.fromfile(name)
    try:
        return get_config(name)
    except (FileNotFoundError, AssertionError, ValueError) as error:
        raise InputError(f'config {name} does not exist: {error}') from error
