import pytest
import torch
import torch.nn.functional as F
from helpers import needs, run_method, seeded_images, seeded_tower

from sclip_mmseg import InputError
from sclip_mmseg.datasets import load_queries
from sclip_mmseg.models import View
from sclip_mmseg.models.methods.sfp import strongest
from sclip_mmseg.registry import METHODS


@pytest.fixture(scope='module')
def tower(device):
    """One whose class token attends to patches about as much as they do to themselves."""
    tower = seeded_tower(12, device=device)
    qkv = tower.blocks[10].qkv
    q, k, v = qkv.weight.data.chunk(3)
    qkv.weight.data = torch.cat([q, k + 0.2 * q, v])
    return tower


def _method(**arguments):
    return METHODS.build(dict(type='SFP', **arguments))


def _run(tower, images, **arguments):
    return run_method(_method(**arguments), tower, images)


def _outliers(tower, image, count=10, salience=1.5):
    """The rule patch by patch, on the attention of the block before the last."""
    kept = tower.run(image, {11: ['weights']}).blocks[11].weights[0].double().mean(0)
    salient = [j for j in range(1, len(kept)) if salience * kept[0, j] > kept[j, j]]
    return sorted(salient, key=lambda j: -kept[0, j])[:count]


def _by_definition(tower, image):
    """The method as its program computes it, branch by branch and in float64."""
    rows, columns = tower.grid(image)
    outputs = [tower.embed(image)[0]]
    for block in tower.blocks:
        outputs.append(block(outputs[-1]))
    x4, x9, x11 = (outputs[number].double()[0] for number in (4, 9, 11))
    summed = sum(outputs[number].double()[0] for number in range(4, 11))
    outliers = {token - 1 for token in _outliers(tower, image)}
    assert 0 < len(outliers)

    def repaired(patches):
        result = patches.clone()
        for index in outliers:
            y, x = index // columns, index % columns
            around = [
                v * columns + u
                for v in range(max(y - 1, 0), min(y + 2, rows))
                for u in range(max(x - 1, 0), min(x + 2, columns))
                if v * columns + u not in outliers
            ]
            if around:
                result[index] = patches[around].mean(0)
        return result

    def similar(patches):
        directions = patches / patches.norm(dim=-1, keepdim=True)
        cosines = directions @ directions.T
        return torch.where(cosines < 0.4, 0, cosines)

    def averaged(patches, similarity):
        return similarity / (similarity.sum(-1, keepdim=True) + 1e-6) @ patches

    similarity, edges = similar(repaired(x9[1:])), similar(x4[1:])
    logits = 3 * (similarity - similarity.mean())
    given = torch.where(logits < 0, -torch.inf, logits).softmax(-1)
    last = tower.blocks[-1]

    def branch(patches, class_token, own):
        weight, bias = last.norm1.weight.double(), last.norm1.bias.double()
        n = F.layer_norm(patches, patches.shape[-1:], weight, bias, 1e-5)
        q, k, v = (n @ last.qkv.weight.double().T + last.qkv.bias.double()).chunk(3, -1)
        heads = []
        for parts in zip(q.split(64, -1), k.split(64, -1), v.split(64, -1)):
            maps = [given] + [(z @ z.T / 8).softmax(-1) for z in parts[:2] if own]
            heads.append(sum(maps) / len(maps) @ parts[2])
        out = torch.cat(heads, -1) @ last.out.weight.double().T + last.out.bias.double()
        return averaged(out + 0.3 * class_token, edges)

    features = branch(averaged(repaired(x11[1:]), similarity), x11[0], True)
    features = features + branch(summed[1:], summed[0], False)
    weight, bias = tower.norm.weight.double(), tower.norm.bias.double()
    features = F.layer_norm(features, features.shape[-1:], weight, bias, 1e-5)
    return (features @ tower.proj.double()).unflatten(0, (rows, columns))


@pytest.mark.parametrize('size', [(112, 160), (160, 100)])
def test_equals_its_definition_in_float64(tower, size, device):
    needs(device, 'float64')
    images = seeded_images(device, 2, 3, *size)
    for image, result in zip(images, _run(tower, images)):
        expected = _by_definition(tower, image[None])
        assert result.shape == expected.shape == (size[0] // 16, size[1] // 16, 32)
        assert (result - expected).abs().max() / expected.abs().max() < 1e-4


def test_images_of_a_batch_do_not_see_each_other(tower, device):
    images = seeded_images(device, 3, 3, 112, 160)
    images[1] *= 5
    for image, features in zip(images, _run(tower, images)):
        alone = _run(tower, image[None])[0]
        torch.testing.assert_close(features, alone, rtol=0, atol=1e-5 * float(alone.abs().max()))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_low_precision(dtype, device):
    images = seeded_images(device, 2, 3, 112, 160)
    features = _run(seeded_tower(12, dtype=dtype, device=device), images)
    assert features.isfinite().all()
    exact = _run(seeded_tower(12, device=device), images)
    assert F.cosine_similarity(features.float(), exact, dim=-1).median() > 0.98


@pytest.mark.parametrize('rule', ['attention', 'norm', 'factor'])
def test_a_plain_image_is_finite(rule, device):
    tower = seeded_tower(12, device=device)
    tower.positions.zero_()
    images = torch.ones(1, 3, 112, 112, device=device)
    assert _run(tower, images, rule=rule).isfinite().all()


def test_what_no_patch_is_salient_for_is_not_repaired(tower, device):
    images = seeded_images(device, 1, 3, 112, 160)
    none = _run(tower, images, salience=1e-9)
    torch.testing.assert_close(none, _run(tower, images, count=0))
    assert not none.equal(_run(tower, images))


def test_a_lonely_outlier_stays_and_the_window_finite(tower, device):
    """A corner with nothing but outliers around it, which the program turns into NaN."""
    method = _method()
    mask = torch.zeros(1, 70, dtype=torch.bool, device=device)
    mask[0, [0, 1, 10, 11]] = True
    method.find = lambda *args: mask
    assert run_method(method, tower, seeded_images(device, 1, 3, 112, 160)).isfinite().all()


def test_the_rules_by_norm_and_by_factor(tower, device):
    tokens = tower.run(seeded_images(device, 1, 3, 112, 160), {12: ['input']})
    norms = tokens.patches[0].norm(dim=-1)
    found = _method(rule='norm', count=3).find(tokens)[0]
    assert found.sum() == 3 and norms[found].min() > norms[~found].max()
    plain = METHODS.build(dict(type='SCCLIP', neighbours=20, share=0.1)).find(tokens)
    assert _method(rule='factor', neighbours=20, share=0.1).find(tokens).equal(plain)


def test_strongest(device):
    values = torch.tensor([[1.0, 3, 2], [5, 4, 6]], device=device)
    assert strongest(values, 2).tolist() == [[False, True, True], [True, False, True]]
    assert strongest(values, 10).all() and not strongest(values, 0).any()


def test_its_attention_map_sums_to_one(tower, device):
    images = seeded_images(device, 1, 3, 64, 80)
    with torch.no_grad():
        weights = _method().attention_map(tower, View(images), None)
    assert weights.shape == (1, 4, 5, 4, 5)
    torch.testing.assert_close(weights.sum((3, 4)), torch.ones(1, 4, 5, device=device))


@pytest.mark.parametrize(
    'arguments, part',
    [
        (dict(rule='LOF'), "rule='LOF' must be one of attention, norm, factor"),
        (dict(count=-1), 'count=-1 must'),
        (dict(salience=0), 'salience=0 must'),
        (dict(threshold=1), 'threshold=1 must'),
    ],
)
def test_bad_arguments(arguments, part):
    with pytest.raises(InputError, match=part):
        _method(**arguments)


def test_fewer_blocks_are_refused_and_small_windows_are_not(tower, device):
    _method().check(seeded_tower(11))
    with pytest.raises(InputError, match='block 10, but only blocks 1 to 9'):
        _method().check(seeded_tower(10))
    assert _run(tower, seeded_images(device, 1, 3, 32, 48)).shape == (1, 2, 3, 32)


@pytest.mark.parametrize('name', ['voc20', 'voc21', 'cityscapes'])
def test_its_lists_have_people(name):
    ours, own = load_queries(name).by_class, load_queries(f'sfp_{name}').by_class
    [(person, people)] = [pair for pair in zip(ours, own) if pair[0] != pair[1]]
    assert people == ['people' + query.removeprefix('person') for query in person]
