import pytest
import torch
import torch.nn.functional as F

from sclip_mmseg.models import View, fusion
from sclip_mmseg.models.fusion import encode_windows
from sclip_mmseg.models.window_cfg import WindowCfg
from sclip_mmseg.models.windows import window_grid


@pytest.mark.parametrize(
    'side, crop, step, starts',
    [
        (336, 224, 112, [0, 112]),
        (448, 224, 112, [0, 112, 224]),
        (337, 224, 112, [0, 112, 113]),
        (335, 224, 112, [0, 111]),
        (224, 224, 112, [0]),
        (225, 224, 112, [0, 1]),
        (200, 224, 112, [0]),
        (10, 4, 3, [0, 3, 6]),
    ],
)
def test_window_grid_along_one_side(side, crop, step, starts):
    grid = window_grid((side, 50), (crop, 50), (step, 50))
    assert [window.top for window in grid] == starts
    assert [window.bottom for window in grid] == [start + min(crop, side) for start in starts]
    assert {(window.left, window.right) for window in grid} == {(0, 50)}


def test_window_grid_is_row_by_row():
    corners = [(window.top, window.left) for window in window_grid((3, 4), (2, 2), (1, 2))]
    assert corners == [(0, 0), (0, 2), (1, 0), (1, 2)]


def _mean_of_blocks(crops):
    return F.avg_pool2d(crops[:, :1], 2)


def _encode(view):
    return _mean_of_blocks(view.images)


def _by_hand(image, crop=(8, 8), step=(4, 4)):
    """One window at a time on a full canvas."""
    height, width = image.shape[-2:]
    total, count = torch.zeros(2, 1, height, width, device=image.device)
    for top, left, bottom, right in window_grid((height, width), crop, step):
        coarse = _mean_of_blocks(image[None, :, top:bottom, left:right])
        size = (bottom - top, right - left)
        total[:, top:bottom, left:right] += F.interpolate(coarse, size, mode='bilinear')[0]
        count[:, top:bottom, left:right] += 1
    return total / count


@pytest.mark.parametrize('window_batch', [1, 3, 100])
def test_slide_inference_fuses_images_of_unequal_size(window_batch, device):
    torch.manual_seed(0)
    images = [torch.rand(3, *size).to(device) for size in ((20, 14), (6, 17), (20, 14))]
    views = [View(image[None]) for image in images]
    maps = encode_windows(
        views, _encode, WindowCfg(crop_size=8, stride=4), lambda size: window_batch
    )
    for image, each in zip(images, maps):
        torch.testing.assert_close(each.fuse().whole(), _by_hand(image, (8, 8), (4, 4)))


def test_slide_inference_without_crop_sees_the_whole_image_once(device):
    image = torch.rand(3, 6, 10).to(device)
    [maps] = encode_windows([View(image[None])], _encode, WindowCfg('whole'), lambda size: 1)
    expected = F.interpolate(_mean_of_blocks(image[None]), (6, 10), mode='bilinear')[0]
    torch.testing.assert_close(maps.fuse().whole(), expected)


def test_regions_are_cut_with_the_images(device):
    numbers = torch.arange(48, device=device).view(1, 6, 8)
    view = View(numbers[:, None].expand(1, 3, 6, 8).float(), numbers)
    seen = []

    def encode(part):
        seen.append(part)
        return part.images[:, :1]

    encode_windows([view, view], encode, WindowCfg(crop_size=4, stride=(2, 4)), lambda size: 3)
    assert [len(part.images) for part in seen] == [3, 3, 2]
    for part in seen:
        assert part.images[:, 0].long().equal(part.regions)


@pytest.mark.parametrize('limit', [1, 500, 1 << 24])
@pytest.mark.parametrize('flip', [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize('size', [(31, 50), (12, 9)])
def test_a_fused_map_is_resized_from_the_map_at_the_image_s_size(
    monkeypatch, limit, flip, size, device
):
    monkeypatch.setattr(fusion, 'tile_limit', lambda device: limit)
    torch.manual_seed(0)
    image = torch.rand(3, 21, 14).to(device)
    [maps] = encode_windows(
        [View(image[None])],
        lambda view: F.avg_pool2d(view.images, 2),
        WindowCfg(crop_size=8, stride=4),
        lambda size: 5,
    )
    plain = torch.cat([_by_hand(image[channel : channel + 1]) for channel in range(3)])
    mirrored = plain.flip([axis for axis, on in zip((-2, -1), flip) if on])
    expected = F.interpolate(mirrored[None], size, mode='bilinear')[0]
    fused = maps.fuse(size, flip)
    assert fused.size == size
    torch.testing.assert_close(fused.whole()[:3], expected)
    tiled = torch.full_like(fused.whole(), float('nan'))
    for rows, columns, tile in fused.tiles():
        tiled[:, rows, columns] = tile.permute(2, 0, 1)
    torch.testing.assert_close(tiled, fused.whole())


@pytest.mark.parametrize('width', [33, 200, 683])
def test_equal_queries_stay_equal(width, device):
    # COCO-Object's list has the same query twice, and the first of equal ones must win.
    torch.manual_seed(0)
    cosines = torch.randn(1, 113, 14, 14).to(device)
    cosines[:, 100] = cosines[:, 5]
    view = View(torch.rand(1, 3, 224, 224).to(device))
    [maps] = encode_windows([view], lambda view: cosines, WindowCfg('whole'), lambda size: 1)
    for _, _, tile in maps.fuse((300, width)).tiles():
        assert tile[..., 100].equal(tile[..., 5])
