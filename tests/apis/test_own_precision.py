"""Own images are segmented in 16 bits where that is fast, and their labels stay the same."""

import numpy as np
import pytest
import torch
from helpers import seeded_clip
from mmengine.config import ConfigDict

from sclip_mmseg import InputError, apis
from sclip_mmseg.apis import precision
from sclip_mmseg.apis.precision import AGREEING, choose_precision, is_half_fast
from sclip_mmseg.registry import METHODS
from sclip_mmseg.utils.errors import HalfOverflow

SMALL = {
    'model.test_cfg.crop_size': 112,
    'model.test_cfg.stride': 56,
    'test_pipeline.1.scale': (2048, 168),
}
KEY = 'model.image_encoder'
#: What methods need to run with a small tower.
OPTIONS = {
    'sfp': dict(similarity_block=2, edge_block=1, level_blocks=(1, 2)),
    'rfclip': dict(channels=[1, 2]),
}


@pytest.fixture(scope='module')
def large_clip(tmp_path_factory):
    """A CLIP whose features float32 holds and float16 does not."""
    state = seeded_clip()
    for block in (0, 1):
        state[f'visual.transformer.resblocks.{block}.mlp.c_proj.bias'][7] = 4e4
    path = tmp_path_factory.mktemp('large') / 'clip.pt'
    torch.save(state, path)
    return str(path)


def build(clip, method='sclip', asked=None, options=None):
    small = {f'{KEY}.method.{key}': value for key, value in OPTIONS.get(method, {}).items()}
    options = {**SMALL, **small, **(options or {})}
    arguments = (['sky', 'grass', 'cat'], False, method, clip, 'cpu', options)
    return apis.build_segmentor(*arguments, precision=asked)


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(precision, 'is_half_fast', lambda device: True)


@pytest.mark.parametrize(
    'method, asked, options, expected',
    [
        ('sclip', None, {}, 'fp16'),
        ('sclip', 'fp32', {}, 'fp32'),
        ('sclip', 'bf16', {}, 'bf16'),
        ('sclip', None, {f'{KEY}.precision': 'bf16'}, 'bf16'),
        ('sclip', 'fp32', {f'{KEY}.precision': 'bf16'}, 'fp32'),
        ('sclip', None, {f'{KEY}.method.type': 'RandomCSA'}, 'fp32'),
    ],
)
def test_what_is_chosen(clip_path, fast, method, asked, options, expected):
    model = build(clip_path, method, asked, options)
    assert model.precision.precision == model.image_encoder.precision == expected
    assert apis.with_classes(model, ['sea', 'sand']).precision == model.precision


def test_float32_where_float16_is_slow(clip_path):
    assert build(clip_path).image_encoder.precision == 'fp32'


def test_other_systems_stay_in_float32(fast):
    kept = [
        dict(type='TCLEncoder'),
        dict(type='CLIPImageEncoder', method=dict(type='ProxyCLIP'), proxy=dict(checkpoint='x')),
        dict(type='CLIPImageEncoder', method=dict(type='MyOwn')),
    ]
    for encoder in kept:
        assert choose_precision(ConfigDict(encoder), 'cpu').precision == 'fp32'


def test_an_unknown_precision(clip_path):
    with pytest.raises(InputError, match="precision='half' is not one of fp32, fp16, bf16"):
        build(clip_path, asked='half')


@pytest.mark.parametrize('tiles, half', [(True, True), (True, False), (False, True)])
def test_processors(monkeypatch, tiles, half):
    monkeypatch.setattr(torch.cpu, '_is_amx_tile_supported', lambda: tiles, raising=False)
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_fp16_supported', lambda: half, raising=False)
    assert is_half_fast(torch.device('cpu')) == (tiles and half)


@pytest.mark.parametrize('capability, expected', [((6, 1), False), ((7, 5), True), ((9, 0), True)])
def test_graphics_cards(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: capability)
    assert is_half_fast(torch.device('cuda', 0)) == expected
    assert not is_half_fast(torch.device('mps'))


def test_the_methods_are_known():
    assert all(name in METHODS for name in AGREEING)


@pytest.mark.parametrize('method', ['sclip', 'scclip', 'sfp', 'rfclip'])
def test_what_overflows_is_done_again(large_clip, voc_root, method):
    """The labels are those of float32, whatever a method computes from infinity."""
    image_path = voc_root / 'VOCdevkit/VOC2012/JPEGImages/image_0.jpg'
    model, full = build(large_clip, method, 'fp16'), build(large_clip, method, 'fp32')
    with pytest.raises(HalfOverflow):
        model.predict(torch.ones(1, 3, 112, 112))
    for _ in range(2):
        found, expected = apis.segment(model, image_path), apis.segment(full, image_path)
        assert np.array_equal(found.scores, expected.scores)
    assert model.image_encoder.precision == 'fp16'
