"""Every registered method gives what the segmentor needs; a new one is found by itself."""

import functools
import inspect
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import build_model, load_config, needs, seeded_clip, seeded_dino, write_sam
from mmengine.config import ConfigDict
from mmseg.structures import SegDataSample

from sclip_mmseg import InputError
from sclip_mmseg.models import LastBlockMethod, Method, View
from sclip_mmseg.registry import METHODS
from sclip_mmseg.towers.sam import SamTower

WIDTH = 128
SIZES = ((96, 112), (112, 96))
# Of arguments without a default, and of those whose default leaves a part of the method out or
# holds for CLIP's own towers alone.
ARGUMENTS = dict(
    width=WIDTH,
    projection='q',
    rcs=dict(lam=0.3),
    sfr=dict(tau=2.0, lam=0.7, temp_thd=0.1, refine=dict(type='PAMR', num_steps=1)),
    channels=[3, 40],
)
TOLERANCE = dict(fp32=1e-5, fp16=2e-2, bf16=5e-2)


def _config(cls, **more):
    parameters = inspect.signature(cls).parameters
    required = {'width', 'rcs', 'sfr', 'channels'}
    known = {
        name: value
        for name, value in ARGUMENTS.items()
        if name in parameters
        and (name in required or parameters[name].default is inspect.Parameter.empty)
    }
    return dict(type=cls.__name__, **known, **more)


def _methods():
    """A config of each class, or one for each published base where it builds on another method."""
    for name, cls in METHODS.module_dict.items():
        if not cls.__module__.startswith('sclip_mmseg'):
            continue
        if 'base' not in inspect.signature(cls).parameters:
            yield pytest.param(_config(cls), id=name)
            continue
        for base in ('SCLIP', 'ClearCLIP', 'NACLIP'):
            yield pytest.param(_config(cls, base=dict(type=base)), id=f'{name}-{base}')


METHODS_TO_TEST = list(_methods())


@pytest.fixture(scope='module')
def deep_clip(tmp_path_factory):
    """Path of a seeded CLIP with as many blocks as the methods ask for."""
    path = tmp_path_factory.mktemp('weights') / 'deep.pt'
    torch.save(seeded_clip(layers=12, width=WIDTH), path)
    return str(path)


@pytest.fixture(scope='module')
def extras(tmp_path_factory):
    """Further needs of some methods, a second tower and region maps, by the config's key."""
    root = tmp_path_factory.mktemp('extras')
    torch.save(seeded_dino(), root / 'dino.pt')
    for index, size in enumerate(SIZES):
        regions = (
            np.arange(12).reshape(3, 4).repeat(size[0] // 3 + 1, 0).repeat(size[1] // 4 + 1, 1)
        )
        np.savez(root / f'{index}.npz', instance_mask=regions[: size[0], : size[1]])
    return dict(
        proxy=dict(checkpoint=str(root / 'dino.pt')),
        region_masks=f'{root}/{{stem}}.npz',
        sam=functools.cache(lambda: dict(checkpoint=write_sam(root / 'sam'))),
    )


@pytest.fixture(scope='module', autouse=True)
def _sam_sees_each_image_once():
    """Keep what SAM, which is the same in all models, makes of an image."""
    encode, known = SamTower.encode, {}

    @torch.inference_mode(False)
    def encode_once(sam, pixels):
        key = pixels.tobytes(), pixels.shape, sam.device
        if key not in known:
            known[key] = encode(sam, pixels)
        return known[key]

    with mock.patch.object(SamTower, 'encode', encode_once):
        yield


@functools.cache
def _shared(clip, precision, device):
    """A model whose tower and embeddings the other models share."""
    options = {'model.image_encoder.precision': precision}
    return build_model(load_config('clip_vit-b16_voc20', clip, **options), device)


def _model(clip, method, precision='fp32', mode='slide', device='cpu', extras=None, share=True):
    cfg = load_config('clip_vit-b16_voc20', clip)
    cfg.model.share = _shared(clip, precision, device) if share else None
    cfg.model.image_encoder.update(method=ConfigDict(method), precision=precision)
    cfg.model.test_cfg.update(mode=mode, crop_size=(96, 96), stride=(48, 48))
    cls = METHODS.get(method['type'])
    if extras and cls.needs_proxy:
        cfg.model.image_encoder.proxy = extras['proxy']
    if extras and cls.needs_sam:
        cfg.model.image_encoder.sam = extras['sam']()  # skips without transformers
    if extras and cls.needs_regions:
        cfg.model.region_masks = extras['region_masks']
    return build_model(cfg, device)


def _predict(model, images):
    names = [SIZES.index(tuple(image.shape[1:])) for image in images]
    samples = [
        SegDataSample(
            metainfo=dict(
                ori_shape=tuple(image.shape[1:]),
                img_path=f'{name}.jpg',
                pixels=image.permute(1, 2, 0).numpy(),
            )
        )
        for name, image in zip(names, images)
    ]
    predicted = model.test_step(dict(inputs=list(images), data_samples=samples))
    return [(sample.seg_logits.data, sample.pred_sem_seg.data) for sample in predicted]


def _images():
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(256, (3, *s), generator=generator, dtype=torch.uint8) for s in SIZES]


@pytest.mark.parametrize('mode', ['slide', 'whole'])
@pytest.mark.parametrize('method', METHODS_TO_TEST)
def test_method(deep_clip, method, mode, precision, device, extras):
    model = _model(deep_clip, method, precision, mode, device, extras)
    images = _images()
    together = _predict(model, images)
    for image, (scores, classes) in zip(images, together):
        [(alone, _)] = _predict(model, [image])
        assert scores.shape == (20, *image.shape[1:])
        assert classes.shape == (1, *image.shape[1:])
        assert scores.isfinite().all()
        torch.testing.assert_close(scores, alone, rtol=0, atol=TOLERANCE[precision])


def _is_last_block(parameter):
    return issubclass(METHODS.get(parameter.values[0]['type']), LastBlockMethod)


@pytest.mark.parametrize('method', list(filter(_is_last_block, METHODS_TO_TEST)))
def test_weights_applied_to_the_values_are_the_method(deep_clip, method, device):
    model = _model(deep_clip, method, device=device)
    encoder, view = model.image_encoder, View(torch.randn(2, 3, 64, 96).to(device))
    _, tokens = encoder.method.prepare(encoder.tower, view, model.text_head)
    weights = encoder.method.token_weights(tokens)
    assert weights.shape == (2, 2, 25, 25)
    torch.testing.assert_close(weights @ tokens.v, encoder.method.mix(tokens), rtol=0, atol=1e-5)
    with pytest.warns(FutureWarning, match=r'is now called token_weights\(prepare'):
        old = encoder.method.attention_weights(encoder.tower, view, model.text_head)
    assert old.equal(weights)


@pytest.mark.parametrize('method', METHODS_TO_TEST)
def test_maps_for_images_sum_to_what_the_patches_get(deep_clip, method, device, extras):
    model = _model(deep_clip, method, device=device, extras=extras)
    encoder = model.image_encoder
    regions = torch.arange(4, device=device).repeat_interleave(24).expand(2, 96, 96)
    view = View(torch.randn(2, 3, 96, 96).to(device), regions)
    maps = encoder.attention_map(view, model.text_head)
    grid = encoder.features(view, model.text_head).shape[1:3]
    assert maps.shape == (2, *grid, *grid)
    assert maps.dtype == torch.float32
    totals = maps.flatten(3).sum(-1)
    assert totals.min() > 0
    assert totals.max() < 4.01  # four random maps are added, or ResCLIP doubles two


@pytest.mark.parametrize('method', METHODS_TO_TEST)
def test_gradients_reach_images_and_weights(deep_clip, method, device, extras):
    model = _model(deep_clip, method, device=device, extras=extras, share=False)
    encoder, images = model.image_encoder, torch.randn(2, 3, 96, 96).to(device)
    regions = torch.arange(6).repeat_interleave(16).expand(2, 96, -1).to(device)
    view = View(images.requires_grad_(), regions)
    encoder(view, model.text_head).square().sum().backward()
    frozen = images.grad
    assert frozen.isfinite().all() and frozen.any()
    images.grad = None
    encoder.requires_grad_(True)
    encoder(view, model.text_head).square().sum().backward()
    torch.testing.assert_close(images.grad, frozen)
    assert encoder.tower.blocks[0].qkv.weight.grad.any()


@pytest.mark.parametrize('cast', ['half', 'bfloat16'])
@pytest.mark.parametrize('method', ['SCLIP', 'LearnedCSA', 'ProxyCLIP'])
def test_a_cast_model_is_one_of_that_precision(deep_clip, method, cast, device, extras):
    method, images = _config(METHODS.get(method)), _images()
    model = _model(deep_clip, method, device=device, extras=extras, share=False)
    precision = dict(half='fp16', bfloat16='bf16')[cast]
    expected = _model(deep_clip, method, precision, device=device, extras=extras, share=False)
    model.requires_grad_(True)
    model(torch.randn(1, 3, 96, 96).to(device)).sum().backward()  # gradients are cast, too
    getattr(model, cast)()
    found = {name: value.dtype for name, value in model.state_dict().items()}
    assert found == {name: value.dtype for name, value in expected.state_dict().items()}
    for predicted, wanted in zip(_predict(model, images), _predict(expected, images)):
        assert predicted[0].equal(wanted[0])
    assert model.to(torch.float32).image_encoder.tower.dtype == torch.float32


def test_a_cast_to_float64_and_a_cast_tower(deep_clip, device):
    needs(device, 'float64')
    model, images = _model(deep_clip, dict(type='SCLIP'), device=device, share=False), _images()
    expected = _predict(model, images)
    for predicted, wanted in zip(_predict(model.double(), images), expected):
        torch.testing.assert_close(predicted[0], wanted[0], rtol=0, atol=1e-5)
    features = (
        model.float()
        .image_encoder.half()
        .features(View(torch.randn(1, 3, 96, 96).to(device)), model.text_head)
    )
    assert features.isfinite().all()


def test_features_that_are_not_finite_name_the_setting(deep_clip):
    model = _model(deep_clip, dict(type='SCLIP'), 'fp16', share=False)
    model.image_encoder.tower.blocks[3].fc1.bias.data.fill_(6e4)
    model.image_encoder.tower.blocks[3].fc2.weight.data.fill_(10)
    with pytest.raises(InputError, match="not finite: model.image_encoder.precision='fp16' overf"):
        _predict(model, _images()[:1])
    model = _model(deep_clip, dict(type='SCLIP'), share=False)
    model.image_encoder.tower.proj.data[0, 0] = float('nan')
    with pytest.raises(InputError, match='not finite: the checkpoint'):
        _predict(model, _images()[:1])


# Two methods of no paper show what a method may do.


class TwoHalves(Method):
    """Runs its own loop over the blocks: the mean of the tokens after each of the last three."""

    def forward(self, tower, view, classify):
        """See the base."""
        x, grid = tower.embed(view.images)
        total = 0
        for number, block in enumerate(tower.blocks):
            q, k, v = block.project(block.norm1(x))
            x = block.residual_mlp(x, F.scaled_dot_product_attention(q, k, v))
            if number >= len(tower.blocks) - 3:
                total = total + x
        return tower.read_out(total / 3)[:, 1:].unflatten(1, grid)


class Borrowed(Method):
    """Takes its attention from the features of a second tower, on that one's grid."""

    needs_proxy = True

    def forward(self, tower, view, classify, proxy):
        """See the base."""
        guide = F.normalize(proxy(view.images), dim=-1)
        weights = (guide.flatten(1, 2) @ guide.flatten(1, 2).transpose(1, 2) * 20).softmax(-1)
        tokens = tower.run(view.images)
        coarse = tokens.patches.unflatten(1, tokens.grid).permute(0, 3, 1, 2)
        fine = F.interpolate(coarse, guide.shape[1:3], mode='bilinear').flatten(2).transpose(1, 2)
        return tower.read_out(weights @ fine).unflatten(1, guide.shape[1:3])


@pytest.fixture
def register():
    """Register a class for one test."""
    names = []

    def add(cls):
        METHODS.register_module(module=cls)
        names.append(cls.__name__)
        return dict(type=cls.__name__)

    yield add
    for name in names:
        del METHODS.module_dict[name]


def test_a_method_with_its_own_loop(deep_clip, register, device):
    model, images = _model(deep_clip, register(TwoHalves), device=device), _images()
    for image, (scores, _) in zip(images, _predict(model, images)):
        [(alone, _)] = _predict(model, [image])
        torch.testing.assert_close(scores, alone, rtol=0, atol=1e-5)


def test_a_method_with_a_second_tower_on_another_grid(deep_clip, register, tmp_path, device):
    torch.save(seeded_dino(), tmp_path / 'dino.pt')
    cfg = load_config('clip_vit-b16_voc20', deep_clip)
    cfg.model.image_encoder.update(
        method=register(Borrowed), proxy=dict(checkpoint=str(tmp_path / 'dino.pt'))
    )
    cfg.model.test_cfg.update(crop_size=(96, 96), stride=(48, 48))
    model, images = build_model(cfg, device), _images()
    features = model.extract_feat(torch.randn(2, 3, 96, 80).to(device))
    assert features.shape == (2, 12, 10, 32)
    for image, (scores, _) in zip(images, _predict(model, images)):
        [(alone, _)] = _predict(model, [image])
        torch.testing.assert_close(scores, alone, rtol=0, atol=1e-5)


def test_a_method_whose_second_tower_is_missing(deep_clip, register):
    with pytest.raises(InputError, match=r'Borrowed needs model\.image_encoder\.proxy'):
        _model(deep_clip, register(Borrowed))
