"""Descriptions of the settings of a result."""

import os
from collections.abc import Mapping
from typing import Any

from .result import Result

#: Settings that are stated beside every number.
STATED = 'name list', 'CLIP', 'protocol'
#: Prefix of a fingerprint's key → name of the part in texts; the first match counts.
_PARTS = {
    'model.text_head.clip': 'CLIP',
    'model.text_head.': 'name list',
    'model.image_encoder.clip': 'CLIP',
    'model.image_encoder.checkpoint': 'CLIP',
    'model.image_encoder.tower.': 'CLIP',
    'model.image_encoder.head': 'CLIP',
    'model.image_encoder.': 'method',
    'model.test_cfg.window_batch': '',
    'model.test_cfg.': 'protocol',
    'model.refine': 'method',
    'model.postprocess': 'method',
    'model.': 'protocol',
    'test_dataloader.dataset.pipeline': 'protocol',
    'images': 'image files',
    'sclip_mmseg': 'version',
}


def differing_parts(a: Result, b: Result) -> str:
    """Parts in which two results differ, such as ``method and name list``; empty if unknown."""
    keys = sorted({*a.fingerprint, *b.fingerprint})
    found = dict.fromkeys(
        next((part for start, part in _PARTS.items() if key.startswith(start)), '')
        for key in keys
        if a.fingerprint.get(key) != b.fingerprint.get(key)
    )
    order = [part for part in dict.fromkeys(_PARTS.values()) if part and part in found]
    return ' and '.join(filter(None, [', '.join(order[:-1]), *order[-1:]]))


def describe_settings(result: Result) -> dict[str, str]:
    """Describe a result: method, name list, CLIP and protocol, then all other metadata."""
    meta = {key: value for key, value in result.meta.items() if value is not None}
    about = {
        'method': str(meta.pop('method', '')),
        'name list': _name_list(meta.pop('queries', None), result.fingerprint),
        'CLIP': _weights(str(meta.pop('weights', ''))),
        'protocol': str(meta.pop('protocol', '')) or _protocol(result.fingerprint),
    }
    ends = ('image_encoder.clip', 'image_encoder.checkpoint', 'image_encoder.tower.checkpoint')
    if digest := next((v for key, v in result.fingerprint.items() if key.endswith(ends)), ''):
        about['weights'] = str(digest)
    images = result.fingerprint.get('images')
    return {**about, **({'images': str(images)} if images else {}), **_text(meta)}


def _weights(name: str) -> str:
    """A name unchanged, or the file name of a path."""
    return os.path.basename(name) if os.path.isabs(name) else name


def _text(meta: Mapping[str, Any]) -> dict[str, str]:
    names = {'seconds_per_image': 'seconds per image', 'peak_memory': 'peak memory'}
    values = dict(meta)
    if isinstance(values.get('seconds_per_image'), float):
        values['seconds_per_image'] = f'{values["seconds_per_image"]:.3f}'
    if isinstance(values.get('peak_memory'), int):
        values['peak_memory'] = f'{values["peak_memory"] / 1e9:.2f} GB'
    return {names.get(key, key): str(value) for key, value in values.items()}


def _name_list(name: str | None, fingerprint: Mapping[str, Any]) -> str:
    queries = [value for key, value in fingerprint.items() if '.text_head.queries.' in key]
    number = sum(len(words) if isinstance(words, list) else 1 for words in queries)
    size = f'{number} names' if number else ''
    return ', '.join(filter(None, [name or '', size]))


def _protocol(fingerprint: Mapping[str, Any]) -> str:
    """Describe the short side, windows and thresholds of a fingerprint."""
    values = {
        key.rpartition('test_cfg.')[2]: v for key, v in fingerprint.items() if 'test_cfg.' in key
    }
    words = []
    scale = next(
        (v for key, v in fingerprint.items() if key.endswith('.scale') and 'pipeline' in key), None
    )
    if isinstance(scale, list):
        words.append(f'short side {min(scale)}')
    if values.get('mode') == 'slide':
        crop, stride = values.get('crop_size'), values.get('stride')
        words.append(f'windows {_side(crop)} by {_side(stride)}')
    elif values.get('mode'):
        words.append(f'mode {values["mode"]}')
    words += [
        f'{key} {values[key]}' for key in ('logit_scale', 'prob_thd', 'area_thd') if values.get(key)
    ]
    return ', '.join(words)


def _side(size: Any) -> str:
    if isinstance(size, list) and len(set(size)) == 1:
        size = size[0]
    return '×'.join(map(str, size)) if isinstance(size, list) else str(size)
