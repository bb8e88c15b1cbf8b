"""Settings of the shipped configs, and the expected ones in configs/protocols.yml."""

import copy
import hashlib
import inspect
import os.path as osp
import re
from dataclasses import asdict
from functools import cache

from helpers import ROOT
from mmengine.fileio import load
from mmseg.registry import DATASETS
from torch import nn

from sclip_mmseg.benchmark.published import split_name
from sclip_mmseg.datasets import load_queries
from sclip_mmseg.memory import MemoryCfg
from sclip_mmseg.models.methods.rfclip import CHANNELS
from sclip_mmseg.registry import METHODS, POSTPROCESSORS, REFINERS

BLOCKS = 12  # of ViT-B/16
REPAIRED = '-repaired'


@cache
def _table():
    return load(ROOT / 'configs/protocols.yml')


def published_values(entry, benchmark):
    """Values of the table for an entry and a benchmark, without null."""
    assert entry in _table(), f'configs/protocols.yml lacks {entry}: write what its program has'
    content = _table()[entry]
    values = published_values(content['like'], benchmark) if 'like' in content else {}
    for more in (content.get('values', {}), content.get('benchmarks', {}).get(benchmark, {})):
        values = _merge(values, more)
    return _plain(values)


def values_in_force(cfg):
    """Values that a config evaluates with, by the table's names, without None.

    Raises:
        AssertionError: If the config has what the table has no word for.
    """
    model = copy.deepcopy(cfg.model)
    preprocessor, encoder = model.pop('data_preprocessor'), model.pop('image_encoder')
    head, test_cfg = model.pop('text_head'), model.pop('test_cfg')
    kind = encoder.pop('type')
    assert model.pop('type') == 'CLIPSegmentor'
    assert preprocessor.pop('type') == 'PadSegDataPreProcessor'
    own = kind.removesuffix('Encoder')
    own = own if own in ('GroupViT', 'SAM3', 'Talk2DINO') else 'CLIP'
    assert head.pop('type') == f'{own}TextHead'
    values = {
        **_data(cfg),
        **{key: preprocessor.pop(key) for key in ('mean', 'std', 'bgr_to_rgb')},
        'encoder': kind if kind != 'CLIPImageEncoder' else None,
        'clip': _clip(cfg, encoder.pop('clip', None) or head.pop('clip', None)),
        'tower': encoder.pop('tower', {}).get('checkpoint'),
        'head': encoder.pop('head', None),
        'clean_background': encoder.pop('clean_background', None),
        **{key: encoder.pop(key, None) for key in ('checkpoint', 'kp_w', 'round_weights')},
        'precision': encoder.pop('precision', 'fp32'),
        'method': _method(encoder.pop('method', None)),
        'proxy': encoder.pop('proxy', {}).get('checkpoint'),
        'bg_thresh': encoder.pop('background', None),
        'sam': (encoder.pop('sam', None) or {}).get('checkpoint'),
        'upsampler': encoder.pop('upsampler', None),
        'mask_refine': _built(REFINERS, encoder.pop('refine', None)),
        'query_sha256': _digest(head.pop('queries')),
        'templates': head.pop('templates', None),
        'normalize_prompts': head.pop('normalize_prompts', kind != 'SAM3Encoder' or None),
        **_sam3(kind, encoder),
        **_windows(test_cfg),
        **_decision(test_cfg),
        'refine': _built(REFINERS, model.pop('refine', None)),
        'memory': _memory(cfg, model.pop('memory', None)),
        'region_masks': _below_data(cfg, model.pop('region_masks', None)),
        'postprocess': _built(POSTPROCESSORS, model.pop('postprocess', None)),
    }
    left = model, preprocessor, encoder, head, test_cfg
    assert not any(left), f'configs/protocols.yml has no word for {left}'
    return _plain(values)


def _data(cfg):
    resizing = [step for step in cfg.test_pipeline[1:2] if step.type == 'Resize']
    others = [step for step in cfg.test_pipeline if step not in resizing]
    others += [step for s in cfg.tta_pipeline[1].transforms[len(resizing) :] for step in s]
    assert not any('scale' in step for step in others)
    assert cfg.tta_pipeline[1].transforms[: len(resizing)] == [resizing] * len(resizing)
    resize = {**resizing[0]} if resizing else {}
    longest, shortest = resize.get('scale', (None, None))
    assert cfg.test_dataloader.dataset.pipeline == cfg.test_pipeline
    dataset = copy.deepcopy(cfg.test_dataloader.dataset)
    kind, root = DATASETS.get(dataset.type), dataset.data_root
    split = dataset.get('ann_file')
    ignored = dataset.get('ignored')
    assert ignored == cfg.test_evaluator.get('ignore_index')
    assert dataset.get('classes') in (None, cfg.model.text_head.queries)
    return {
        'batch_size': cfg.test_dataloader.batch_size,
        'long_side_at_most': longest,
        'short_side': shortest,
        'keep_ratio': resize.get('keep_ratio'),
        'dataset': dataset.type,
        'images': _below_data(cfg, f'{root}/{dataset.data_prefix.img_path}'),
        'labels': _below_data(cfg, f'{root}/{dataset.data_prefix.seg_map_path}'),
        'split': _below_data(cfg, split and f'{root}/{split}'),
        'ignored': ignored,
        'reduce_zero_label': dataset.get('reduce_zero_label', _default(kind, 'reduce_zero_label')),
    }


def _sam3(kind, encoder):
    if kind != 'SAM3Encoder':
        return {}
    parts = 'use_transformer_decoder', 'use_sem_seg', 'use_presence_score'
    return {
        'confidence_threshold': encoder.pop('confidence_threshold'),
        **{part: encoder.pop(part, True) for part in parts},
    }


def _clip(cfg, name):
    return _below_data(cfg, name) if name and name.endswith('.safetensors') else name


def _below_data(cfg, path):
    return path and osp.relpath(path, cfg.data_root)


def _default(kind, name):
    """The value of an argument that a class, or one that it is derived from, has by itself."""
    found = (inspect.signature(base.__init__).parameters.get(name) for base in kind.__mro__)
    return next(parameter.default for parameter in found if parameter)


def _digest(queries):
    lines = map(','.join, load_queries(queries).by_class)
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()[:16]


def _windows(test_cfg):
    mode = test_cfg.pop('mode')
    crop, stride = (test_cfg.pop(key, None) for key in ('crop_size', 'stride'))
    padding = test_cfg.pop('pad_multiple', 1)
    slides = mode == 'slide'
    assert not slides or len({*crop}) == len({*stride}) == 1
    return {
        'mode': mode,
        'crop': crop[0] if slides else None,
        'stride': stride[0] if slides else None,
        'pad_multiple': padding if padding > 1 else None,
    }


def _decision(test_cfg):
    keys = 'logit_scale', 'area_thd', 'background'
    activation = test_cfg.pop('activation', 'softmax')
    return {
        **{key: test_cfg.pop(key, None) for key in keys},
        'prob_thd': test_cfg.pop('prob_thd', 0),
        'bg_idx': test_cfg.pop('bg_idx', None),
        'activation': {'softmax': None, None: 'none'}[activation],
    }


def _memory(cfg, values):
    if values is None:
        return None
    files = {key: _below_data(cfg, values.get(key)) for key in ('bank', 'index')}
    return {**asdict(MemoryCfg(**values)), **files}


def _built(registry, cfg):
    return cfg and _arguments(registry.build(cfg), cfg)


def _method(cfg):
    if cfg is None:
        return None
    if cfg.type == 'LearnedCSA':  # reads a file that a user makes
        return {**cfg, 'projection': re.search('work_dirs/.*', cfg.projection)[0]}
    method = METHODS.build(cfg)
    values = _arguments(method, cfg)
    if cfg.type == 'SCCLIP':
        names = 'similarity_block', 'edge_block', 'level_blocks'
        values.update(zip(names, method.blocks(BLOCKS)))
    if cfg.type == 'RFCLIP':
        values['channels'] = method.channels or CHANNELS[768, 16]
    if cfg.type in ('CorrCLIP', 'CorrCLIPv2', 'OVStitcher'):
        values['blocks'] = method._averaged(BLOCKS)
    return values


def _arguments(module, cfg):
    """Arguments that a module was built with, including defaults."""
    values = {'type': type(module).__name__}
    for name, parameter in inspect.signature(type(module)).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue  # of a class without arguments
        value = getattr(module, name, cfg.get(name, parameter.default))
        nested = isinstance(value, nn.Module)
        values[name] = _arguments(value, cfg.get(name) or {}) if nested else value
    return values


def _merge(values, more):
    if not isinstance(more, dict) or not isinstance(values, dict):
        return more
    return {**values, **{key: _merge(values.get(key), value) for key, value in more.items()}}


def _plain(value):
    """Dictionaries without None, and lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    return list(map(_plain, value)) if isinstance(value, (list, tuple, range)) else value


def expected_values(name):
    """Values that a shipped config should evaluate with."""
    method, backbone, benchmark = split_name(name.removesuffix(REPAIRED))
    own = f'{method}_{backbone}'
    values = published_values(own if own in _table() else method, benchmark)
    if name.endswith(REPAIRED):
        values['query_sha256'] = _digest('coco_object_repaired')
    if backbone == 'toy':
        values['clip'] = 'toy/toy_clip.safetensors'
        values.update({key: f'toy/{values[key]}' for key in ('images', 'labels', 'split')})
    if name == 'resclip-naclip_toy_voc20':
        values['method']['rcs']['blocks'] = [4, 5, 6]  # the middle ones of 8
    return values


def config_name(row, benchmark):
    """Name of the config that is to give a published row's number."""
    return '_'.join(filter(None, (row.configs, row.backbone, benchmark)))


def check_runtime(cfg):
    """Compare what is the same in all configs and changes no number."""
    assert cfg.env_cfg.dist_cfg.timeout == 7 * 24 * 3600  # a week, docs/reproducing.md
    assert cfg.env_cfg.mp_cfg.opencv_num_threads == 0  # images are loaded in processes
    assert cfg.visualizer.alpha == 0.5
    assert cfg.default_hooks.visualization.interval == 1  # --show-dir draws each image
    flips = [(flip.type, flip.prob) for flip in cfg.tta_pipeline[1].transforms[-3]]
    assert flips == [('RandomFlip', 0), ('RandomFlip', 1)]
