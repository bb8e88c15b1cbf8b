"""Query embeddings as files: what ``tools/extract_text_embeddings.py`` does."""

import os.path as osp
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import merge_options, read_config
from ..models.building import build_text_head
from ..models.text_embeddings import save_embeddings
from ..models.text_head import CLIPTextHead
from ..registry import in_scope
from ..utils.errors import InputError


def extract_embeddings(
    config: str, out: str, cfg_options: Mapping[str, Any] | None = None
) -> CLIPTextHead:
    """Write the embeddings of a config's queries to a file for ``text_head.embeddings``.

    Args:
        config: Path of a config, or name of a shipped one.
        out: The ``.npz`` file: queries ``[Q]``, class_ids ``[Q]``, embeddings ``[Q, D]``.
        cfg_options: Settings that replace the config's.

    Returns:
        The text head.

    Raises:
        InputError: If an argument is invalid.
    """
    folder = osp.dirname(osp.abspath(out))
    if not osp.isdir(folder):
        raise InputError(f'folder {folder} does not exist')
    cfg = read_config(config)
    merge_options(cfg, cfg_options)
    with in_scope():
        head = build_text_head(cfg.model.image_encoder, cfg.model.text_head)
    if head.embeddings.ndim != 2:
        raise InputError(
            f'{config}: {type(head).__name__} keeps features of the tokens of each prompt, not one '
            'embedding, so that there is nothing to extract; it caches its features anyway'
        )
    save_embeddings(Path(out), head.query_set, head.embeddings)
    return head
