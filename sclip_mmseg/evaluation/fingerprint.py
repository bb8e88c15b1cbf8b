"""Fingerprint of an evaluation: all settings and files that its numbers depend on."""

import hashlib
import os
import os.path as osp
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmseg.registry import MODELS

from ..config import NO_CHECKPOINT
from ..datasets import load_queries
from ..datasets.parts import image_paths
from ..models.simfeatup import find_upsampler
from ..models.trained import find_head
from ..old_names import keep_old_names
from ..regions import RegionFiles
from ..registry import find_type
from ..towers import find_clip
from ..towers.proxy import find_proxy
from ..towers.repository import Checkpoint
from ..towers.sam import find_sam
from ..utils.errors import shorten
from ..utils.files import find_file, sha256_of
from ..version import __version__

keep_old_names(__name__, evaluation_settings='make_fingerprint')

Fingerprint = dict[str, Any]
"""Dotted key → JSON value."""

# Paths, the choice of images (their list is compared instead), and how results are collected.
_WITHOUT_EFFECT = frozenset(
    'data_root data_prefix ann_file indices region_masks bank collect_dir collect_device prefix '
    'out_file resume save_interval seg_logits'.split()
)
# Changes at most the last digits; a long evaluation may be resumed on another machine.
_ROUNDING = ('environment.', 'model.test_cfg.window_batch')


def make_fingerprint(cfg: Config, dataset: BaseDataset) -> Fingerprint:
    """List everything that the numbers and outputs of an evaluation depend on.

    Files are compared by content, not by path: checkpoints and files of embeddings by SHA-256,
    images and labels by their names below the data root and their sizes, region maps by names and
    sizes.

    Args:
        cfg: The config of the evaluation.
        dataset: Its test dataset.
    """
    hook = cfg.get('default_hooks', {}).get('visualization') or {}
    path = Path(getattr(dataset, 'ann_file', '') or '')
    labels = path if path.suffix.lower() == '.json' and path.is_file() else None  # of all images
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu'
    memory = cfg.model.get('module', cfg.model).get('memory')
    parts = {
        'model': cfg.model,
        'test_dataloader': {
            'batch_size': cfg.test_dataloader.get('batch_size'),
            'dataset': cfg.test_dataloader.dataset,
        },
        'test_evaluator': cfg.test_evaluator,
        'test_cfg': cfg.test_cfg,
        'load_from': None if cfg.get('load_from') == NO_CHECKPOINT else cfg.get('load_from'),
        'show_dir': cfg.visualizer.get('save_dir') if hook.get('draw') else None,
        'images': _describe_images(dataset),
        **({'annotations': f'SHA-256 {sha256_of(labels)}'} if labels else {}),
        'regions': _describe_regions(cfg.model.get('module', cfg.model), dataset),
        **({'memory': _describe_bank(memory)} if memory else {}),
        'sclip_mmseg': __version__,
        'environment': {'torch': torch.__version__, 'device': device},
    }
    return describe_settings(**parts)


def describe_settings(**parts: Any) -> Fingerprint:
    """Flatten settings to dotted keys, with the SHA-256 of files instead of their paths."""
    return dict(_flatten(parts))


def list_changes(old: Fingerprint, new: Fingerprint) -> tuple[list[str], list[str]]:
    """Compare the fingerprints of two evaluations.

    Returns:
        Changes of the numbers, and changes of at most their last digits: phrases such as
        ``model.test_cfg.logit_scale was 40.0, is 50.0``.
    """
    absent = object()
    changes: list[str] = []
    rounding: list[str] = []
    for key in sorted({*old, *new}):
        before, after = old.get(key, absent), new.get(key, absent)
        if before != after:
            words = ['not set' if v is absent else shorten(repr(v), 120) for v in (before, after)]
            where = rounding if key.startswith(_ROUNDING) else changes
            where.append(f'{key} was {words[0]}, is {words[1]}')
    return changes, rounding


def _flatten(value: Any, key: str = '') -> Iterator[tuple[str, Any]]:
    name = key.rpartition('.')[2]
    if name in _WITHOUT_EFFECT:
        return
    if name == 'queries':
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # the model warns about duplicates
            value = {str(i): words for i, words in enumerate(load_queries(value).by_class)}
    if isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value):
        value = {str(index): item for index, item in enumerate(value)}
    if isinstance(value, dict):
        for child, item in value.items():
            if child in ('queries', 'clip') and value.get('embeddings'):
                continue  # embeddings have their own queries, and need no text tower
            if child == 'image_encoder' and value.get('text_head', {}).get('embeddings'):
                item = {name: each for name, each in item.items() if name != 'head'}
            if child == 'checkpoint' and (find := _finder_of(value.get('type'))):
                yield f'{key}.{child}', _describe_checkpoint(find(item))
                continue
            yield from _flatten(item, f'{key}.{child}' if key else child)
    else:
        yield key, _to_json(key, value)


def _finder_of(kind: Any) -> Callable[[str], Checkpoint] | None:
    """How an encoder of this type, a name or a class, finds its checkpoint; None for others."""
    return getattr(find_type(MODELS, kind), 'checkpoint_finder', None)


def _find(key: str, value: str) -> Checkpoint | None:
    """The checkpoint or file that a setting names; None for other values."""
    finders: dict[str, Callable[[str], Checkpoint | None]] = {
        '.proxy.checkpoint': find_proxy,
        '.tower.checkpoint': find_proxy,
        '.image_encoder.head': find_head,
        '.sam.checkpoint': find_sam,
        '.upsampler.checkpoint': find_upsampler,
        '.clip': find_clip,
    }
    for end, find in finders.items():
        if key.endswith(end):
            return find(value)
    path = find_file(value)
    return None if path is None else Checkpoint(path)


def _to_json(key: str, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_to_json(key, item) for item in value]
    if isinstance(value, str):
        found = _find(key, value)
        return _describe_checkpoint(found) if found else value
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _describe_checkpoint(found: Checkpoint) -> str:
    spec = f' with {found.spec}' if found.spec else ''
    return f'SHA-256 {sha256_of(found.weights)}{spec}'


def _describe_images(dataset: BaseDataset) -> str:
    """Number of images, and a digest of the names and sizes of all images and labels."""
    root = getattr(dataset, 'data_root', None) or os.curdir
    digest = hashlib.sha256()
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        for key in ('img_path', 'seg_map_path'):
            if info.get(key):
                name = Path(osp.relpath(info[key], root)).as_posix()
                size = osp.getsize(info[key]) if osp.isfile(info[key]) else ''  # on another backend
                digest.update(f'{name} {size}\n'.encode())
    return f'{len(dataset)} images, their names and sizes having SHA-256 {digest.hexdigest()}'


def _describe_regions(model: Config, dataset: BaseDataset) -> str | dict | None:
    """A digest of the names and sizes of all region maps, or the config of their generator."""
    if not isinstance(model.get('region_masks'), str):
        return model.get('region_masks')
    files, digest = RegionFiles(model.region_masks), hashlib.sha256()
    images = image_paths(dataset)
    files.check(images)
    for path in map(files.path, images):
        digest.update(f'{path.name} {path.stat().st_size}\n'.encode())
    return f'maps whose names and sizes have SHA-256 {digest.hexdigest()}'


def _describe_bank(memory: dict) -> str:
    """A digest of the names and sizes of a memory bank's files."""
    folder, digest = Path(memory['bank']).expanduser(), hashlib.sha256()
    for path in sorted(path for path in folder.rglob('*') if path.is_file()):
        name = path.relative_to(folder).as_posix()
        digest.update(f'{name} {path.stat().st_size}\n'.encode())
    return f'files whose names and sizes have SHA-256 {digest.hexdigest()}'
