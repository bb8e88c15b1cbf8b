import math
import statistics

import pytest
import torch

from sclip_mmseg import InputError
from sclip_mmseg.models import pamr as module
from sclip_mmseg.models.pamr import _EMBEDDING_BAG, PAMR, pamr, pamr_affinity


def _by_hand(query_map, image, steps, dilations):
    """PAMR pixel by pixel in plain Python."""
    channels, height, width = image.shape

    def at(x, i, j):
        return x[min(max(i, 0), height - 1)][min(max(j, 0), width - 1)]

    around = [(dy * d, dx * d) for d in dilations for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    neighbours = [offset for offset in around if offset != (0, 0)]
    pixels = image.tolist()
    weights = {}
    for i in range(height):
        for j in range(width):
            logits = []
            sigma = [
                statistics.stdev(at(pixels[c], i + dy, j + dx) for dy, dx in around)
                for c in range(channels)
            ]
            for dy, dx in neighbours:
                values = [
                    -abs(at(pixels[c], i + dy, j + dx) - pixels[c][i][j]) / (1e-8 + 0.1 * sigma[c])
                    for c in range(channels)
                ]
                logits.append(sum(values) / channels)
            exps = [math.exp(x - max(logits)) for x in logits]
            weights[i, j] = [e / sum(exps) for e in exps]
    maps = query_map.tolist()
    for _ in range(steps):
        maps = [
            [
                [
                    sum(w * at(m, i + dy, j + dx) for w, (dy, dx) in zip(weights[i, j], neighbours))
                    for j in range(width)
                ]
                for i in range(height)
            ]
            for m in maps
        ]
    return torch.tensor(maps)


@pytest.mark.parametrize('channels', [1, 3, 64])
@pytest.mark.parametrize('dilations', [(1, 2), (2, 5)])
def test_pamr_equals_a_direct_loop(monkeypatch, channels, dilations, device):
    monkeypatch.setattr(module, '_CHANNELS', channels)
    torch.manual_seed(0)
    image, query_map = torch.randn(3, 6, 7), torch.rand(5, 6, 7)
    expected = _by_hand(query_map, image, 2, dilations).to(device)
    refined = pamr(query_map[None].to(device), image[None].to(device), 2, dilations)[0]
    torch.testing.assert_close(refined, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('dilations', [(1, 2), (2, 5)])
def test_a_device_without_embedding_bag_gets_the_same(monkeypatch, dilations):
    def missing(*args, **kwargs):
        raise NotImplementedError('aten::_embedding_bag is not implemented for the MPS device')

    torch.manual_seed(0)
    image, query_map = torch.randn(2, 3, 6, 7), torch.rand(2, 5, 6, 7)
    expected = pamr(query_map, image, 3, dilations)
    monkeypatch.setattr(module.F, 'embedding_bag', missing)
    monkeypatch.setattr(module, '_EMBEDDING_BAG', ('cuda',))  # the CPU stands in for mps
    refined = pamr(query_map, image, 3, dilations)
    torch.testing.assert_close(refined, expected, rtol=1e-6, atol=1e-6)
    assert 'mps' not in _EMBEDDING_BAG


def test_a_batch_is_refined_image_by_image(device):
    torch.manual_seed(0)
    images, maps = torch.randn(3, 3, 6, 7).to(device), torch.rand(3, 5, 6, 7).to(device)
    refined = pamr(maps, images, 2, (1, 2))
    assert refined.shape == maps.shape
    for image, single, together in zip(images, maps, refined):
        alone = pamr(single[None], image[None], 2, (1, 2))[0]
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def test_affinity_sums_to_one_on_a_flat_image(device):
    affinity = pamr_affinity(torch.ones(1, 3, 4, 4, device=device), (8, 16))
    expected = torch.full((1, 16, 4, 4), 1 / 16, device=device)
    torch.testing.assert_close(affinity, expected)


def test_pamr_leaves_its_input_alone(device):
    query_map = torch.rand(1, 2, 5, 5).to(device)
    before = query_map.clone()
    pamr(query_map, torch.rand(1, 3, 5, 5).to(device), 1)
    assert query_map.equal(before)


@pytest.mark.parametrize(
    'kwargs', [dict(num_steps=0), dict(dilations=()), dict(dilations=8), dict(dilations=(8, -1))]
)
def test_pamr_refuses_what_is_not_positive(kwargs):
    with pytest.raises(InputError, match=next(iter(kwargs))):
        PAMR(**kwargs)
