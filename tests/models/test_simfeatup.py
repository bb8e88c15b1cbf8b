"""The upsampler, as a step of window methods."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import build_model, load_config, seeded_clip
from PIL import Image

from sclip_mmseg import InputError, apis
from sclip_mmseg.models import SimFeatUp
from sclip_mmseg.models.windows import pad_margins

WIDTH = 32  # of the features of the seeded CLIP


def seeded_upsampler(kind='jbu_stack', dim=WIDTH):
    """State of an upsampler as the released files name it."""
    torch.manual_seed(0)
    names, taps = (['up'], 121) if kind == 'jbu_one' else ([f'up{n}' for n in (1, 2, 3, 4)], 49)
    shapes = {
        'range_temp': (),
        'sigma_spatial': (),
        'range_proj.0': (32, 3),
        'range_proj.3': (32, 32),
        'fixup_proj.0': (taps, taps + 3),
        'fixup_proj.3': (taps, taps),
    }
    state = {}
    for key, shape in [(f'{n}.{p}', s) for n in names for p, s in shapes.items()]:
        if not shape:
            state[key] = torch.rand(()) + 0.3
        else:
            state[f'{key}.weight'] = torch.randn(*shape, 1, 1) * shape[1] ** -0.5
            state[f'{key}.bias'] = torch.randn(shape[0]) * 0.1
    state['fixup_proj.1.weight'] = torch.randn(dim, dim, 1, 1) * dim**-0.5
    state['fixup_proj.1.bias'] = torch.randn(dim)
    return {'state_dict': {f'upsampler.{key}': value for key, value in state.items()}}


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp('upsampler')
    for kind in ('jbu_one', 'jbu_stack'):
        torch.save(seeded_upsampler(kind), folder / f'{kind}.ckpt')
    torch.save(seeded_upsampler(dim=8), folder / 'narrow.ckpt')
    torch.save(seeded_clip(), folder / 'clip.pt')
    torch.save(seeded_clip(patch_size=32), folder / 'patch32.pt')
    return {path.stem: str(path) for path in folder.iterdir()}


def unfolded(path, x, image):
    """The published procedure on `[h, w, D]` and `[3, H, W]`, all taps in one tensor."""
    state = {k[10:]: v for k, v in torch.load(path)['state_dict'].items()}
    x, image = x.permute(2, 0, 1)[None], image[None]

    def convolve(x, name):
        hidden = F.gelu(F.conv2d(x, state[f'{name}.0.weight'], state[f'{name}.0.bias']))
        return F.conv2d(hidden, state[f'{name}.3.weight'], state[f'{name}.3.bias'])

    for number in (1, 2, 3, 4):
        unit = 'up' if 'up.range_temp' in state else f'up{number}'
        size = 2 * x.shape[2], 2 * x.shape[3]
        guide = F.adaptive_avg_pool2d(image, size)
        keys = convolve(guide, f'{unit}.range_proj')
        taps = len(state[f'{unit}.fixup_proj.3.bias'])
        side = round(taps**0.5)
        edges = (side // 2,) * 4
        around = F.unfold(F.pad(keys, edges, 'reflect'), side).view(1, -1, taps, *size)
        temperature = state[f'{unit}.range_temp'].exp().clamp(1e-4, 1e4)
        place = torch.linspace(-1, 1, side)
        distance = (place[:, None] ** 2 + place**2).view(1, taps, 1, 1)
        kernel = ((keys[:, :, None] * around).sum(1) * temperature).softmax(1)
        kernel = kernel * (-distance / (2 * state[f'{unit}.sigma_spatial'] ** 2)).exp()
        kernel = kernel / kernel.sum(1, keepdim=True).clamp(min=1e-7)
        kernel = kernel + 0.1 * convolve(torch.cat([kernel, guide], 1), f'{unit}.fixup_proj')
        x = F.pad(F.interpolate(x, size, mode='bicubic', align_corners=False), edges, 'reflect')
        values = F.unfold(x, side).view(1, -1, taps, *size)
        x = (values * kernel[:, None]).sum(2)
    name = 'fixup_proj.1'
    return (x + 0.1 * F.conv2d(x, state[f'{name}.weight'], state[f'{name}.bias']))[0]


@torch.no_grad()
@pytest.mark.parametrize('kind', ['jbu_one', 'jbu_stack'])
def test_it_equals_the_unfolded_form(paths, kind):
    upsampler = SimFeatUp(paths[kind]).train()  # nothing is dropped out
    features, images = torch.randn(2, 3, 5, WIDTH), torch.randn(2, 3, 50, 80)
    found = upsampler(features, images).permute(0, 3, 1, 2)
    assert found.shape == (2, WIDTH, 48, 80)
    for number in (0, 1):
        expected = unfolded(paths[kind], features[number], images[number, :, :48])
        assert (found[number] - expected).abs().max() <= 1e-5 * expected.abs().max()


@torch.no_grad()
def test_fewer_doublings(paths):
    upsampler = SimFeatUp(paths['jbu_stack'], doublings=2)
    assert upsampler(torch.randn(1, 3, 4, WIDTH), torch.randn(1, 3, 48, 64)).shape[1:3] == (12, 16)
    for doublings in (0, 5, True, 'all'):
        with pytest.raises(InputError, match='upsampler.doublings=.* must be 1 to 4'):
            SimFeatUp(paths['jbu_stack'], doublings)


def _config(paths, method, kind='jbu_stack', clip='clip', **options):
    upsampler = dict(type='SimFeatUp', checkpoint=paths.get(kind, kind))
    options = {'model.image_encoder.upsampler': upsampler, **options}
    cfg = load_config(f'{method}_vit-b16_voc20', paths[clip], **options)
    cfg.model.test_cfg.update(crop_size=(112, 112), stride=(56, 56))
    return cfg


@torch.no_grad()
@pytest.mark.parametrize('method', ['sclip', 'scclip', 'clip', 'rfclip'])
def test_any_window_method_takes_it(paths, method):
    """A batch of images of different sizes gives the same as single images."""
    channels = {'model.image_encoder.method.channels': [1]} if method == 'rfclip' else {}
    method_cfg = {} if method != 'scclip' else {'model.image_encoder.method.neighbours': 5}
    cfg = _config(paths, method, **channels, **method_cfg)
    model = build_model(cfg)
    images = [torch.randn(3, 112, 180), torch.randn(3, 130, 112)]
    alone = [model.predict(image[None])[0].seg_logits.data for image in images]
    maps = [model.encode_images(image[None], [model_sample()])[0] for image in images[:1]]
    assert maps[0].cells.shape[0] == 112
    cfg.model.image_encoder.upsampler = None
    coarse = build_model(cfg).predict(images[0][None])[0].seg_logits.data
    assert not torch.allclose(alone[0], coarse, atol=1e-4)
    both = torch.zeros(2, 3, 130, 180)
    for number, image in enumerate(images):
        both[number, :, : image.shape[1], : image.shape[2]] = image
    samples = [model_sample() for _ in images]
    for sample, image in zip(samples, images):
        rest = 130 - image.shape[1], 180 - image.shape[2]
        sample.set_metainfo(dict(img_padding_size=(0, rest[1], 0, rest[0])))
        sample.set_metainfo(dict(ori_shape=tuple(image.shape[1:])))
    for found, expected in zip(model.predict(both, samples), alone):
        torch.testing.assert_close(found.seg_logits.data, expected, rtol=0, atol=1e-5)


def model_sample():
    from mmseg.structures import SegDataSample

    return SegDataSample()


@torch.no_grad()
def test_features_are_the_finer_ones(paths):
    model = build_model(_config(paths, 'sclip'))
    assert model.extract_feat(torch.randn(1, 3, 48, 64)).shape == (1, 48, 64, WIDTH)
    with pytest.raises(
        InputError, match='windows of at least 32 pixels a side, this one has 16×64'
    ):
        model.extract_feat(torch.randn(1, 3, 30, 64))


@torch.no_grad()
@pytest.mark.parametrize('size', [(9, 448), (448, 22), (40, 40)])
def test_thin_images(paths, size):
    cfg = load_config('segearth_vit-b16_whu_aerial', paths['clip'])
    cfg.model.image_encoder.upsampler.checkpoint = paths['jbu_one']
    model = build_model(cfg)
    assert model.windows.min_size == 48
    [result] = model.predict(torch.randn(1, 3, *size))
    assert result.pred_sem_seg.data.shape[1:] == size and result.seg_logits.data.isfinite().all()
    model = build_model(_config(paths, 'sclip', **{'model.test_cfg.mode': 'whole'}))
    model.predict(torch.randn(1, 3, *size))


def test_margins():
    assert pad_margins((30, 300), (224, 224), 16, 48) == ((9, 9), (0, 0))
    assert pad_margins((170, 300), None, 16, 48) == ((3, 3), (2, 2))
    assert pad_margins((170, 300), (224, 224), 16) == ((3, 3), (0, 0))


@pytest.mark.parametrize(
    'kind, clip, words',
    [
        ('jbu_one', 'patch32', 'patches of 16 pixels, but the towers have patches of 32'),
        ('narrow', 'clip', 'has 8 channels, but features of this CLIP have 32'),
        ('clip', 'clip', "is not an upsampler of SimFeatUp or FeatUp .*'up1"),
        ('absent.ckpt', 'clip', r"upsampler.checkpoint='absent.ckpt' is neither a file nor one"),
    ],
)
def test_what_does_not_fit(paths, kind, clip, words):
    with pytest.raises(InputError, match=words):
        build_model(_config(paths, 'sclip', kind, clip))


def test_methods_without_features_of_windows(paths):
    cfg = _config(paths, 'sclip')
    cfg.model.image_encoder.update(method=dict(type='OVStitcher'))
    with pytest.raises(InputError, match='OVStitcher'):
        build_model(cfg)


def test_windows_must_hold_what_it_needs(paths):
    cfg = _config(paths, 'sclip', 'jbu_one')
    cfg.model.test_cfg.update(crop_size=32, stride=32)
    with pytest.raises(InputError, match='smaller than the 48×48 pixels'):
        build_model(cfg)


@torch.no_grad()
def test_own_classes(paths, tmp_path):
    """SegEarth-OV on own images: sizes are SCLIP's, and class 0 need not be a background."""
    image = tmp_path / 'a.png'
    pixels = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    Image.fromarray(pixels).save(image)
    options = {'model.image_encoder.upsampler.checkpoint': paths['jbu_one']}
    options['test_pipeline.1.scale'] = (2048, 112)
    model = apis.build_segmentor(['roof', 'road'], False, 'segearth', paths['clip'], 'cpu', options)
    result = apis.segment(model, image)
    assert result.labels.shape == (60, 90) and result.class_names == ('roof', 'road')
    model = apis.build_segmentor(['roof'], True, 'segearth', paths['clip'], 'cpu', options)
    assert model.dataset_meta['classes'] == ('background', 'roof')
    options['model.image_encoder.upsampler'] = None
    del options['model.image_encoder.upsampler.checkpoint']
    model = apis.build_segmentor(['a', 'b'], False, 'segearth', paths['clip'], 'cpu', options)
    assert model.image_encoder.upsampler is None
