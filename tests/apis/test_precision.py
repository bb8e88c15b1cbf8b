"""A caller's autocast and default dtype change no class, when a model is built and when it runs."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, pseudo_collate

from sclip_mmseg import InputError, apis
from sclip_mmseg.utils.precision import _is_autocast, own_precision

SMALL = {
    'model.test_cfg.crop_size': 112,
    'model.test_cfg.stride': 56,
    'test_pipeline.1.scale': (2048, 168),
}


def build(clip_path, method):
    options = dict(SMALL)
    if method.startswith('resclip'):
        options['model.image_encoder.method.rcs.blocks'] = [1]
    return apis.build_segmentor(['sky', 'grass', 'cat'], ['sea'], method, clip_path, 'cpu', options)


@contextmanager
def autocast(dtype):
    with torch.autocast('cpu', dtype=dtype):
        yield
        assert _is_autocast('cpu')


@contextmanager
def default(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    'method, setting, dtype',
    [
        *(('clip', autocast, dtype) for dtype in (torch.bfloat16, torch.float16)),
        *(('clip', default, dtype) for dtype in (torch.float64, torch.bfloat16, torch.float16)),
        ('sclip-pamr10', autocast, torch.bfloat16),
        ('resclip-sclip', autocast, torch.bfloat16),
        ('resclip-sclip', default, torch.float64),
    ],
)
def test_settings_of_the_caller(clip_path, voc_root, tmp_path, monkeypatch, method, setting, dtype):
    image_path = voc_root / 'VOCdevkit/VOC2012/JPEGImages/image_0.jpg'
    model = build(clip_path, method)
    expected = apis.segment(model, image_path)
    steps = [step for step in model.cfg.test_pipeline if step['type'] != 'LoadAnnotations']
    data = model.data_preprocessor(pseudo_collate([Compose(steps)(dict(img_path=str(image_path)))]))
    monkeypatch.setenv('SCLIP_CACHE_DIR', str(tmp_path / 'cache'))
    with setting(dtype):
        found = [
            apis.segment(model, image_path),
            apis.segment(build(clip_path, method), image_path),
        ]
        [predicted] = model.predict(**data)
    for result in found:
        assert np.array_equal(result.scores, expected.scores)
        assert np.array_equal(result.labels, expected.labels)
    assert np.array_equal(predicted.seg_logits.data.numpy(), expected.scores)
    # Nor do embeddings that were cached meanwhile.
    again = apis.segment(build(clip_path, method), image_path)
    assert np.array_equal(again.scores, expected.scores)


def test_an_error_leaves_the_settings(clip_path):
    with default(torch.float64), autocast(torch.bfloat16):
        with pytest.raises(InputError):
            build('absent.pt', 'clip')
        assert torch.get_default_dtype() == torch.float64
        with own_precision():
            assert torch.get_default_dtype() == torch.float32
            assert not _is_autocast('cpu')
