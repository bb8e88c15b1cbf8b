import pytest
import torch
import torch.nn.functional as F
from helpers import needs, run_method, seeded_images, seeded_tower

from sclip_mmseg import InputError
from sclip_mmseg.models.methods.scclip import (
    attend,
    average,
    find_anomalies,
    local_outlier_factors,
    repair,
)
from sclip_mmseg.registry import METHODS


@pytest.fixture(scope='module')
def tower(device):
    return seeded_tower(12, device=device)


def _method(**arguments):
    return METHODS.build(dict(type='SCCLIP', **arguments))


def _run(tower, images, **arguments):
    return run_method(_method(**arguments), tower, images)


def _by_definition(tower, images):
    """The method as its paper's program computes it, branch by branch and in float64."""
    rows, columns = tower.grid(images)
    outputs = [tower.embed(images)[0]]
    for block in tower.blocks:
        outputs.append(block(outputs[-1]))
    x4, x9, x11 = (outputs[number].double()[0] for number in (4, 9, 11))
    summed = sum(outputs[number].double()[0] for number in range(4, 11))
    anomalous = _factors(x11[1:])
    anomalous = anomalous > anomalous.quantile(0.95)

    def repaired(patches):
        result = patches.clone()
        for index in anomalous.nonzero().flatten().tolist():
            y, x = index // columns, index % columns
            around = [
                v * columns + u
                for v in range(max(y - 1, 0), min(y + 2, rows))
                for u in range(max(x - 1, 0), min(x + 2, columns))
                if not anomalous[v * columns + u]
            ]
            if around:
                result[index] = patches[around].mean(0)
        return result

    def similar(patches):
        directions = patches / patches.norm(dim=-1, keepdim=True)
        return directions @ directions.T

    def averaged(patches, similarity):
        weights = torch.where(similarity < 0.4, 0, similarity)
        return weights / (weights.sum(-1, keepdim=True) + 1e-6) @ patches

    similarity, edges = similar(repaired(x9[1:])), similar(x4[1:])
    last = tower.blocks[-1]
    norm = F.layer_norm
    logits = 3 * (similarity - similarity.mean())
    logits = torch.where(logits < 0, -torch.inf, logits).softmax(-1)

    def branch(patches, class_token):
        n = norm(
            patches, patches.shape[-1:], last.norm1.weight.double(), last.norm1.bias.double(), 1e-5
        )
        _, k, v = (n @ last.qkv.weight.double().T + last.qkv.bias.double()).chunk(3, -1)
        heads = []
        for k_head, v_head in zip(k.split(64, -1), v.split(64, -1)):
            own = (k_head @ k_head.T / 8).softmax(-1)
            heads.append((logits + own) / 2 @ v_head)
        out = torch.cat(heads, -1) @ last.out.weight.double().T + last.out.bias.double()
        return averaged(out + 0.3 * class_token, edges)

    main = branch(averaged(repaired(x11[1:]), similarity), x11[0])
    features = main + branch(summed[1:], summed[0])
    features = norm(
        features, features.shape[-1:], tower.norm.weight.double(), tower.norm.bias.double(), 1e-5
    )
    return (features @ tower.proj.double()).unflatten(0, (rows, columns))


def _factors(tokens, neighbours=30):
    """The outlier factors, token by token."""
    tokens = tokens.double()
    nearest, densities = [], []
    for index, token in enumerate(tokens):
        distances = ((tokens - token) ** 2).sum(-1)
        distances[index] = -1
        order = distances.argsort()[1 : neighbours + 1]
        nearest.append(order)
        densities.append(1 / distances[order[-1]])
    densities = torch.stack(densities)
    return torch.stack([densities[order].mean() for order in nearest]) / densities


@pytest.mark.parametrize('size', [(112, 160), (160, 100), (96, 96)])
def test_equals_its_definition_in_float64(tower, size, device):
    needs(device, 'float64')
    images = seeded_images(device, 2, 3, *size)
    features = _run(tower, images)
    for image, result in zip(images, features):
        expected = _by_definition(tower, image[None])
        assert result.shape == expected.shape == (size[0] // 16, size[1] // 16, 32)
        difference = (result - expected).abs().max() / expected.abs().max()
        assert difference < 1e-4


def test_images_of_a_batch_do_not_see_each_other(tower, device):
    images = seeded_images(device, 3, 3, 112, 160)
    images[1] *= 5
    together = _run(tower, images)
    for image, features in zip(images, together):
        alone = _run(tower, image[None])[0]
        torch.testing.assert_close(features, alone, rtol=0, atol=1e-5 * float(alone.abs().max()))


@pytest.mark.parametrize('dtype, least', [(torch.float16, 0.999), (torch.bfloat16, 0.99)])
def test_low_precision(tower, dtype, least, device):
    images = seeded_images(device, 2, 3, 112, 160)
    features = _run(seeded_tower(12, dtype=dtype, device=device), images)
    assert features.isfinite().all()
    similar = F.cosine_similarity(features.float(), _run(tower, images), dim=-1)
    assert similar.median() > least


def test_a_plain_image_is_finite(device):
    tower = seeded_tower(12, device=device)
    tower.positions.zero_()
    assert _run(tower, torch.ones(1, 3, 112, 112, device=device)).isfinite().all()


@pytest.mark.parametrize('shift', [0, 100])
def test_outlier_factors_equal_a_direct_definition(shift, device):
    needs(device, 'float64')
    tokens = seeded_images(device, 2, 60, 16) + shift
    tokens[0, 7] *= 1.5
    factors = local_outlier_factors(tokens, 30)
    expected = torch.stack([_factors(single) for single in tokens]).float()
    torch.testing.assert_close(factors, expected, rtol=1e-4, atol=0)


def test_outliers(device):
    tokens = seeded_images(device, 2, 100, 16)
    growth = torch.tensor([4.0, 5, 6, 7, 8], device=device)[:, None]
    for image, chosen in ((0, [3, 50, 80, 81, 99]), (1, [0, 10, 20, 30, 40])):
        tokens[image, chosen] *= growth
        anomalous = find_anomalies(local_outlier_factors(tokens, 30), 0.05)[image]
        assert anomalous.nonzero().flatten().tolist() == chosen


def test_equal_tokens_are_not_outliers(device):
    factors = local_outlier_factors(torch.ones(1, 40, 4, device=device), 30)
    assert factors.tolist() == [[1.0] * 40]
    assert not find_anomalies(factors, 0.05).any()


def test_the_quantile_is_interpolated(device):
    factors = torch.arange(5.0, device=device)[None]
    assert find_anomalies(factors, 0.05).tolist() == [[False] * 4 + [True]]  # above 3.8
    assert find_anomalies(factors, 0.3).tolist() == [[False] * 3 + [True] * 2]  # above 2.8
    assert not find_anomalies(factors, 0.0).any()


def test_repair_of_three_by_three_patches(device):
    needs(device, 'float64')
    patches = torch.tensor([[1.0, 2, 3, 4, 50, 6, 7, 8, 90]], device=device)[..., None].double()

    def run(*chosen):
        anomalous = torch.zeros(1, 9, dtype=torch.bool, device=device)
        anomalous[0, list(chosen)] = True
        return repair(patches, anomalous, (3, 3))[0, :, 0].tolist()

    assert run() == [1, 2, 3, 4, 50, 6, 7, 8, 90]
    assert run(8) == [1, 2, 3, 4, 50, 6, 7, 8, (50 + 6 + 8) / 3]  # a corner has three
    assert run(4, 8) == [1, 2, 3, 4, (1 + 2 + 3 + 4 + 6 + 7 + 8) / 7, 6, 7, 8, (6 + 8) / 2]
    # None of the neighbours of the last patch is normal.
    assert run(4, 5, 7, 8)[8] == 90
    assert run(*range(9)) == [1, 2, 3, 4, 50, 6, 7, 8, 90]


def test_repair_of_a_grid_that_is_not_square(device):
    patches = torch.arange(8.0, device=device)[None, :, None]
    anomalous = torch.arange(8, device=device)[None] == 5  # row 1, column 1 of 2 × 4
    repaired = repair(patches, anomalous, (2, 4))
    assert repaired[0, 5].item() == pytest.approx((0 + 1 + 2 + 4 + 6) / 5)
    assert repaired[0, [0, 1, 2, 3, 4, 6, 7], 0].tolist() == [0, 1, 2, 3, 4, 6, 7]


def test_average(device):
    patches = torch.tensor([[[1.0], [10.0], [100.0]]], device=device)
    similarity = torch.tensor([[[1.0, 0.4, 0.39], [0.4, 1.0, -1.0], [0.39, -1.0, 1.0]]])
    similarity = similarity.to(device)
    expected = torch.tensor([[[5 / 1.4], [10.4 / 1.4], [100.0]]], device=device)
    torch.testing.assert_close(average(patches, similarity, 0.4), expected)


def test_attention_leaves_out_less_than_the_mean_of_the_image(device):
    similarity = torch.tensor(
        [
            [[1.0, 0.5, 0.0], [0.5, 1.0, 0.5], [0.0, 0.5, 1.0]],  # mean 5/9
            [[1.0, 0.9, -1], [0.9, 1.0, -1], [-1.0, -1, 1.0]],  # mean 0.8/9
        ],
        device=device,
    )
    weights = _method().attention(similarity)
    torch.testing.assert_close(weights[0], torch.eye(3, device=device))
    assert (weights[1, 0, 0] / weights[1, 0, 1]).item() == pytest.approx(2.718281828**0.3)
    assert weights[1, 0, 2] == weights[1, 2, 0] == 0
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, device=device))


def test_a_patch_attends_to_itself_at_least(device):
    weights = _method().attention(torch.full((1, 7, 7), 0.9999999, device=device))
    assert weights.isfinite().all()
    assert (weights.diagonal(dim1=1, dim2=2) > 0).all()


def test_the_given_map_and_the_own_one_count_the_same(tower, device):
    patches, block = seeded_images(device, 1, 12, 128), tower.blocks[-1]
    with torch.no_grad():
        given = torch.eye(12, device=device)[None]
        other = torch.full_like(given, 1 / 12)
        difference = attend(block, patches, given) - attend(block, patches, other)
        _, _, v = block.project(block.norm1(patches))
        v = v.transpose(1, 2).flatten(2)
        expected = (v - v.mean(1, keepdim=True)) / 2 @ block.out.weight.T
    torch.testing.assert_close(difference, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    'arguments, part',
    [
        (dict(neighbours=0), 'neighbours=0 must'),
        (dict(neighbours=2.5), 'neighbours=2.5 must'),
        (dict(share=1.0), 'share=1.0 must'),
        (dict(threshold=-0.1), 'threshold=-0.1 must'),
        (dict(threshold=float('nan')), 'threshold=nan must'),
        (dict(class_weight=-1), 'class_weight=-1 must'),
        (dict(temperature=0), 'temperature=0 must'),
        (dict(level_blocks=4), 'level_blocks=4 must'),
        (dict(level_blocks=()), 'level_blocks=.* must'),
        (dict(level_blocks=(0, 1)), 'block 0 must'),
        (dict(edge_block='4'), "block '4' must"),
        (dict(similarity_block=-1), 'block -1 must'),
    ],
)
def test_bad_arguments(arguments, part):
    with pytest.raises(InputError, match=part):
        _method(**arguments)


def test_blocks_must_be_there():
    with pytest.raises(InputError, match='block 10, but only blocks 1 to 9 precede the last'):
        _method(level_blocks=[4, 10]).check(seeded_tower(10))


@pytest.mark.parametrize(
    'depth, similarity, edge, levels',
    [(12, 9, 4, range(4, 11)), (8, 6, 3, range(3, 8)), (24, 18, 8, range(8, 21))],
)
def test_blocks_are_the_published_ones_or_in_proportion(depth, similarity, edge, levels):
    assert _method().blocks(depth) == (similarity, edge, levels)
    assert _method(edge_block=2).blocks(depth)[1] == 2
    _method().check(seeded_tower(depth))


def test_fewer_blocks_may_be_asked_for(device):
    few = dict(similarity_block=2, edge_block=1, level_blocks=[1, 2])
    tower = seeded_tower(3, device=device)
    _method(**few).check(tower)
    assert _run(tower, seeded_images(device, 1, 3, 112, 96), **few).shape == (1, 7, 6, 32)


def test_windows_must_have_enough_patches(tower, device):
    assert _run(tower, seeded_images(device, 1, 3, 16, 31 * 16)).shape == (1, 1, 31, 32)
    with pytest.raises(InputError, match='neighbours=30 needs .*these have 5 × 6'):
        _run(tower, seeded_images(device, 1, 3, 80, 96))
