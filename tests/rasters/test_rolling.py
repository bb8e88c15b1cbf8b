"""Large images are segmented in parts with the same numbers as in one piece."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sclip_mmseg.models import View, axes, fusion, rolling
from sclip_mmseg.models.fusion import encode_windows
from sclip_mmseg.models.progress import watch_progress
from sclip_mmseg.models.rolling import RollingMaps
from sclip_mmseg.models.window_cfg import WindowCfg
from sclip_mmseg.rasters.grid import Grid
from sclip_mmseg.rasters.resizing import ResizedRows

cv2 = pytest.importorskip('cv2')


class TensorPixels:
    def __init__(self, image, blank=None):
        self.image, self.blank = image, blank
        self.size = tuple(image.shape[1:])

    def has_data(self, window):
        return self.blank is None or window.bottom > self.blank

    def crop(self, window) -> Tensor:
        return self.image[:, window.top : window.bottom, window.left : window.right]


def encode(view):
    cells = F.avg_pool2d(view.images, 8)
    return torch.cat([cells, cells.flip(1) * 2, cells[:, :1] - cells[:, 1:2]], 1)


@pytest.fixture(params=['large', 'small'])
def _kind(request, monkeypatch):
    if request.param == 'large':
        for module in (fusion, rolling):
            monkeypatch.setattr(module, 'LARGE', 100)
    monkeypatch.setattr(fusion, 'tile_limit', lambda device: 1 << 14)


@pytest.mark.usefixtures('_kind')
@pytest.mark.parametrize('size', [(150, 210), (300, 199), (70, 100)])
@pytest.mark.parametrize('rows', [64, 29, 1000])
def test_parts_have_the_numbers_of_the_whole(size, rows):
    torch.manual_seed(0)
    image = torch.rand(3, 150, 210)
    cfg = WindowCfg(crop_size=64, stride=32, pad_multiple=8)
    [maps] = encode_windows([View(image[None])], encode, cfg, lambda size: 4)
    whole = torch.empty(*size, 7)
    for down, across, tile in maps.fuse(size).tiles():
        whole[down, across] = tile
    part = RollingMaps(TensorPixels(image), cfg, encode, lambda size: 4)
    found, starts = torch.full_like(whole, float('nan')), [*range(0, size[0], rows)]
    for start in starts:
        pixels = slice(start, min(start + rows, size[0]))
        part.prepare(part.rows_needed(size[0], pixels))
        for down, across, tile in part.fuse(size).tiles_of(pixels):
            found[down, across] = tile
    assert found.equal(whole)
    assert part.encoded == part.count  # each window once
    late = RollingMaps(TensorPixels(image), cfg, encode, lambda size: 4)
    pixels = slice(starts[-1], size[0])  # as another process begins
    late.prepare(late.rows_needed(size[0], pixels))
    for down, across, tile in late.fuse(size).tiles_of(pixels):
        assert tile.equal(whole[down, across])


def test_windows_without_data_are_not_encoded():
    image, seen = torch.rand(3, 400, 64), []
    maps = RollingMaps(
        *(TensorPixels(image, 200), WindowCfg(crop_size=64, stride=32)),
        *(lambda view: seen.append(len(view.images)) or encode(view), lambda size: 4),
    )
    told = []
    with watch_progress(lambda *counts: told.append(counts)):
        maps.prepare(range(maps.count))
    assert maps.encoded == sum(row[1] > 200 for row in maps.rows) == sum(seen)
    assert told[-1] == (maps.count, maps.count, maps.encoded)


def test_a_lone_window_is_computed_as_in_a_batch():
    seen = []
    maps = RollingMaps(
        *(TensorPixels(torch.rand(3, 128, 64), 96), WindowCfg(crop_size=64, stride=32)),
        *(lambda view: seen.append(len(view.images)) or encode(view), lambda size: 3),
    )
    maps.prepare(range(3))
    assert (seen, maps.encoded) == ([2], 1)


@pytest.mark.parametrize(('side', 'length'), [(154, 150), (150, 301), (150, 77), (68, 500)])
def test_a_long_axis_has_the_weights_of_the_whole(side, length):
    axis = axes.WindowAxis(side, 64, 32, 8, (1, 3))
    whole = axes.axis_weights(axis, length, False, torch.device('cpu'))
    part = axes.LongAxis(axis, length, torch.device('cpu'))
    for start in range(0, length, 23):
        pixels = slice(start, min(start + 23, length))
        (expected, cells), (weights, own) = whole.cut(pixels), part.cut(pixels)
        assert own == cells and weights.equal(expected)


class Pixels:
    def __init__(self, image):
        self.image, self.grid = image, Grid(image.shape[1], image.shape[0])

    def read(self, block):
        part = self.image[block.top : block.bottom, block.left : block.right]
        return part, np.ones(block.size, bool)


@pytest.mark.parametrize('size', [(37, 50), (75, 100), (150, 200), (43, 171), (160, 77), (1, 1)])
def test_rows_are_resized_as_opencv_does(size):
    image = np.random.RandomState(0).randint(0, 256, (150, 200, 3)).astype(np.uint8)
    rows = ResizedRows(Pixels(image), size)
    parts = [rows.read(top, min(top + 11, size[0])) for top in range(0, size[0], 11)]
    expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    assert (np.concatenate([image for image, _ in parts]) == expected).all()
    assert all(seen.all() for _, seen in parts)
