"""DINOv3, RADIO and PE, compared with their authors' definitions."""

import argparse
import functools
import importlib
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from paths import SHARED
from PIL import Image

from sclip_mmseg.towers.normalisation import CLIP
from sclip_mmseg.towers.proxy import ProxyTower

pytestmark = pytest.mark.golden

FOLDER = SHARED / 'later/corrclip2'
PHOTO = 'data/VOCdevkit/VOC2012/JPEGImages/2007_004189.jpg'
PATCH = dict(dinov2=14, dinov3=16, radiov3=16, pe=14)


@pytest.fixture(scope='module')
def golden(shared):
    return dict(np.load(FOLDER / 'towers.npz'))


@pytest.fixture(scope='module')
def load(shared, tmp_path_factory, device):
    """Loads a family's tower of seeded weights, from a file as it is published."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'path', [str(FOLDER), *sys.path])
        seeded = importlib.import_module('tiny_corr2')
    folder = tmp_path_factory.mktemp('towers')

    @functools.cache
    def find(name):
        state, path = seeded.vfm_state_dict(name, 0), folder / f'{name}.pth'
        args = argparse.Namespace(model='vit_large_patch16_224')
        torch.save({'state_dict': state, 'args': args} if name == 'radiov3' else state, path)
        return ProxyTower(str(path)).to(device)

    return find


def _sizes(name):
    if not (FOLDER / 'towers.npz').is_file():
        return [pytest.param(0, 0, marks=pytest.mark.skip('../shared is not beside this clone'))]
    sizes = {
        key.split('_')[1] for key in np.load(FOLDER / 'towers.npz') if key.startswith(f'{name}_')
    }
    return sorted(tuple(map(int, size.split('x'))) for size in sizes)


def _images(kind, height, width, device):
    drawn = np.random.RandomState(9000 + width)
    draw = drawn.random_sample if kind == 'radiov3' else drawn.standard_normal
    return torch.from_numpy(draw((1, 3, height, width)).astype(np.float32)).to(device)


def _assert_close(found, expected):
    expected = torch.from_numpy(expected)
    limit = 1e-5 * float(expected.abs().max())
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=limit)


@pytest.mark.parametrize('height, width', _sizes('dinov3'))
def test_dinov3(load, golden, height, width, device):
    tower, name = load('dinov3').tower, f'dinov3_{height}x{width}_'
    last = len(tower.blocks)
    tokens = tower.run(_images('dinov3', height, width, device), {last: ['normalised', 'output']})
    assert tokens.grid == (height // 16, width // 16)
    _assert_close(tower.read_out(tokens.patches)[0], golden[f'{name}patches'])
    class_token, *storage = tower.read_out(tokens.prefix)[0]
    _assert_close(class_token, golden[f'{name}class'])
    _assert_close(torch.stack(storage), golden[f'{name}storage'])
    _assert_close(tokens.x[0, ::5], golden[f'{name}prenorm'])
    qkv = tower.blocks[-1].qkv(tokens.blocks[last].normalised)
    _assert_close(qkv[0, ::5], golden[f'{name}qkv'])
    rope = tower.rope(tokens.grid)
    _assert_close(rope.sin[5:], golden[f'{name}sin'])
    _assert_close(rope.cos[5:], golden[f'{name}cos'])


@pytest.mark.parametrize('height, width', _sizes('radiov3'))
def test_radio(load, golden, height, width, device):
    proxy, name = load('radiov3'), f'radiov3_{height}x{width}_'
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in CLIP)
    images = (_images('radiov3', height, width, device) - mean) / std
    tokens = proxy.tower.run(proxy.normalise(images))
    step = {(256, 256): 3, (160, 256): 1}.get((height, width), 7)
    _assert_close(tokens.patches[0, ::step], golden[f'{name}features'])
    _assert_close(tokens.prefix[0, :3].flatten(), golden[f'{name}summary'])
    _assert_close(proxy(images)[0].flatten(0, 1)[::step], golden[f'{name}features'])


@pytest.mark.parametrize('height, width', _sizes('pe'))
def test_pe(load, golden, height, width, device):
    tokens = load('pe').tower.run(_images('pe', height, width, device))
    assert tokens.grid == (height // 14, width // 14)
    step = 11 if height == 448 else 1
    _assert_close(tokens.x[0, ::step], golden[f'pe_{height}x{width}_tokens'])


@pytest.mark.parametrize('name', PATCH)
def test_a_photograph(load, golden, shared, name, device):
    """The program's way: normalised, then resized to whole patches, except for PE."""
    proxy = load(name)
    pixels = np.asarray(Image.open(shared / PHOTO).convert('RGB'))
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in CLIP)
    images = (torch.tensor(pixels, device=device).permute(2, 0, 1)[None] / 255 - mean) / std
    size = [round(side / PATCH[name]) * PATCH[name] for side in images.shape[-2:]]
    if name != 'pe':
        images = F.interpolate(images, size, mode='bilinear', align_corners=False)
    features = proxy(images)[0].permute(2, 0, 1)
    _assert_close(features[:, ::2, ::3], golden[f'photo_{name}'])
