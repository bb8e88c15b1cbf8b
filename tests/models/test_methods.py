"""Every registered method gives what the segmentor needs; a new one is found by itself."""

import inspect

import pytest
import torch
from helpers import load_config, seeded_clip
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from sclip_mmseg.models import LastBlockAttention

WIDTH = 128
SIZES = ((96, 144), (128, 100), (112, 112))
# Of arguments without a default, and of those whose default leaves a part of the method out.
ARGUMENTS = dict(
    width=WIDTH,
    rcs=dict(lam=0.3),
    sfr=dict(tau=2.0, lam=0.7, temp_thd=0.1, refine=dict(type='PAMR', num_steps=1)),
)
TOLERANCE = dict(fp32=1e-5, bf16=2e-2)


def _config(cls, **more):
    parameters = inspect.signature(cls).parameters
    known = {name: value for name, value in ARGUMENTS.items() if name in parameters}
    return dict(type=cls, **known, **more)


def _methods():
    """A config of each class, or one for each base where it builds on another method."""
    classes = [
        cls
        for cls in MODELS.module_dict.values()
        if inspect.isclass(cls) and issubclass(cls, LastBlockAttention)
    ]
    bases = [cls for cls in classes if cls.pairs is not LastBlockAttention.pairs]
    for cls in classes:
        if 'base' not in inspect.signature(cls).parameters:
            yield pytest.param(_config(cls), id=cls.__name__)
            continue
        for base in bases:
            cfg = _config(cls, base=_config(base))
            yield pytest.param(cfg, id=f'{cls.__name__}-{base.__name__}')


METHODS = list(_methods())


@pytest.fixture(scope='module')
def deep_clip(tmp_path_factory):
    """Path of a seeded CLIP with as many blocks as the methods ask for."""
    path = tmp_path_factory.mktemp('weights') / 'deep.pt'
    torch.save(seeded_clip(layers=10, width=WIDTH), path)
    return str(path)


def _model(clip, attention, precision='fp32', mode='slide'):
    cfg = load_config('clip_vit-b16_voc20', clip)
    cfg.model.image_encoder.update(attention=attention, precision=precision)
    cfg.model.test_cfg.update(mode=mode, crop_size=(96, 96), stride=(48, 48))
    return MODELS.build(cfg.model).eval()


def _predict(model, images):
    samples = [SegDataSample(metainfo=dict(ori_shape=image.shape[1:])) for image in images]
    predicted = model.test_step(dict(inputs=list(images), data_samples=samples))
    return [(sample.seg_logits.data, sample.pred_sem_seg.data) for sample in predicted]


@pytest.mark.parametrize('precision', TOLERANCE)
@pytest.mark.parametrize('mode', ['slide', 'whole'])
@pytest.mark.parametrize('attention', METHODS)
def test_method(deep_clip, attention, mode, precision):
    model = _model(deep_clip, attention, precision, mode)
    generator = torch.Generator().manual_seed(0)
    images = [
        torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8) for size in SIZES
    ]
    together = _predict(model, images)
    for image, (scores, classes) in zip(images, together):
        [(alone, _)] = _predict(model, [image])
        assert scores.shape == (20, *image.shape[1:])
        assert classes.shape == (1, *image.shape[1:])
        assert scores.isfinite().all()
        torch.testing.assert_close(scores, alone, rtol=0, atol=TOLERANCE[precision])


@pytest.mark.parametrize('attention', METHODS)
def test_weights_applied_to_the_values_are_the_method(deep_clip, attention):
    model = _model(deep_clip, attention)
    encoder, images = model.image_encoder, torch.randn(2, 3, 64, 96)
    _, tokens = encoder._refined_tokens(images, model.text_head)
    weights = encoder.attention_weights(images, model.text_head)
    assert weights.shape == (2, 2, 25, 25)
    torch.testing.assert_close(weights @ tokens.v, encoder.attention(tokens), rtol=0, atol=1e-5)
