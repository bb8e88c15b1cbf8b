import pytest
import torch
import torch.nn.functional as F
from helpers import needs, run_method, seeded_images, seeded_tower

from sclip_mmseg import InputError
from sclip_mmseg.registry import METHODS
from sclip_mmseg.towers import BlockTokens, Resampling


@pytest.fixture(scope='module')
def tower(device):
    return seeded_tower(8, device=device)


def _method(**arguments):
    return METHODS.build(dict(type='GEM', **arguments))


def _run(tower, images, **arguments):
    return run_method(_method(**arguments), tower, images)


def _by_definition(tower, images, depth=7, iterations=1, temperature=None):
    """The two streams of one image, head by head and in float64."""
    x, grid = tower.embed(images, Resampling(offset=None, antialias=True))
    first = len(tower.blocks) - depth + 1
    for block in tower.blocks[:first]:
        x = block(x)
    stream = x.double()[0]
    for block in tower.blocks[first:]:
        n = block.norm1(x).double()[0]
        tau = n.norm(dim=-1).mean() / 8 if temperature is None else temperature
        q, k, v = (n @ block.qkv.weight.double().T + block.qkv.bias.double()).chunk(3, -1)
        heads = []
        for index in range(block.heads):
            part = slice(64 * index, 64 * (index + 1))
            values, total = v[:, part], 0
            for z in (v[:, part], k[:, part], q[:, part]):
                for _ in range(iterations):
                    z = F.normalize(z, dim=-1)
                    z = (tau * z @ z.T).softmax(-1) @ z
                z = F.normalize(z, dim=-1)
                total = total + (tau * z @ z.T).softmax(-1) @ values
            heads.append(total / 3)
        out = torch.cat(heads, -1) @ block.out.weight.double().T + block.out.bias.double()
        stream, x = stream + out, block(x)
    weight, bias = tower.norm.weight.double(), tower.norm.bias.double()
    normalised = F.layer_norm(stream[1:], stream.shape[-1:], weight, bias, 1e-5)
    return (normalised @ tower.proj.double()).unflatten(0, grid)


@pytest.mark.parametrize('size', [(112, 160), (160, 100), (224, 224)])
@pytest.mark.parametrize(
    'arguments',
    [{}, dict(iterations=0), dict(iterations=3), dict(temperature=5.0), dict(depth=2)],
)
def test_equals_its_definition_in_float64(tower, size, arguments, device):
    needs(device, 'float64')
    images = seeded_images(device, 2, 3, *size)
    images[1] *= 5
    for image, result in zip(images, _run(tower, images, **arguments)):
        expected = _by_definition(tower, image[None], **arguments)
        assert result.shape == expected.shape == (size[0] // 16, size[1] // 16, 32)
        assert (result - expected).abs().max() / expected.abs().max() < 1e-5


def test_images_of_a_batch_do_not_see_each_other(tower, device):
    images = seeded_images(device, 3, 3, 112, 160)
    images[1] *= 5
    together = _run(tower, images)
    for image, features in zip(images, together):
        torch.testing.assert_close(features, _run(tower, image[None])[0], rtol=0, atol=1e-4)


def test_the_temperature_is_that_of_each_image(device):
    q, k, v = seeded_images(device, 3, 2, 4, 10, 8)
    normalised = torch.ones(2, 10, 32, device=device)
    normalised[1, :5] = 3
    seen = BlockTokens(normalised=normalised, q=q, k=k, v=v)
    together = _method().mix(seen, v)
    for index, tau in ((0, 2.0), (1, 4.0)):  # times √8 the mean norm, √32 and 2 √32
        alone = _method(temperature=tau).mix(seen, v)
        torch.testing.assert_close(together[index], alone[index])


@pytest.mark.parametrize('temperature', [None, 5.0])
@pytest.mark.parametrize('dtype, least', [(torch.float16, 0.9999), (torch.bfloat16, 0.99)])
def test_low_precision(tower, dtype, least, temperature, device):
    images = seeded_images(device, 2, 3, 112, 160)
    features = _run(seeded_tower(8, dtype=dtype, device=device), images, temperature=temperature)
    assert features.dtype == dtype
    assert features.isfinite().all()
    expected = _run(tower, images, temperature=temperature)
    assert F.cosine_similarity(features.float(), expected, dim=-1).min() > least


def test_all_blocks_may_have_the_second_stream(device):
    needs(device, 'float64')
    tower = seeded_tower(3, device=device)
    _method(depth=4).check(tower)
    images = seeded_images(device, 1, 3, 64, 96)
    expected = _by_definition(tower, images, depth=4)
    torch.testing.assert_close(_run(tower, images, depth=4)[0], expected.float(), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    'arguments, part',
    [
        (dict(depth=1), 'depth=1 must'),
        (dict(depth=2.0), 'depth=2.0 must'),
        (dict(iterations=-1), 'iterations=-1 must'),
        (dict(iterations=None), 'iterations=None must'),
        (dict(temperature=0), 'temperature=0 must'),
        (dict(temperature=float('nan')), 'temperature=nan must'),
    ],
)
def test_bad_arguments(arguments, part):
    with pytest.raises(InputError, match=part):
        _method(**arguments)


def test_blocks_must_be_there():
    with pytest.raises(InputError, match='depth=7 is more than the 5 blocks .* to 6 or less'):
        _method().check(seeded_tower(5))
    _method().check(seeded_tower(6))
