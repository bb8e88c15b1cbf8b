import pytest
import torch
import torch.nn.functional as F
from helpers import build_model, load_config, load_images, seeded_images, seeded_tower
from mmseg.registry import MODELS

from sclip_mmseg import InputError
from sclip_mmseg.models import LaplacianPropagation, View
from sclip_mmseg.models.methods import PEARL, LastTokens
from sclip_mmseg.models.methods.pearl import polar_factor
from sclip_mmseg.models.propagation import laplacian, text_weights
from sclip_mmseg.registry import METHODS, REFINERS


def _tokens(device, prefix=1, dtype=torch.float32):
    grid = 3, 4
    q, k, v = seeded_images(device, 3, 2, 2, prefix + 12, 8).to(dtype)
    return LastTokens(q, k, v, q, grid)


def _by_definition(tokens, prefix, alpha, steps):
    """One image, head by head, in float64."""
    result = []
    for q, k, v in zip(*(part[0].double() for part in (tokens.q, tokens.k, tokens.v))):
        weights = q.norm(dim=-1)
        weights[:prefix] = 0
        weights = weights / (weights.sum() + 1e-6)
        queries, keys = q - weights @ q, k - weights @ k
        m = keys.T @ queries
        a = m.T @ m
        y, z = a / a.norm() + 1e-6 * torch.eye(8), torch.eye(8).double()
        for _ in range(steps):
            t = 0.5 * (3 * torch.eye(8) - z @ y)
            y, z = y @ t, t @ z
        rotation = m @ z / a.norm().sqrt()
        logits = (q @ (k @ rotation).T + alpha * keys @ keys.T) / 8**0.5
        result.append(logits.softmax(-1) @ v)
    return torch.stack(result)


@pytest.mark.parametrize('prefix', [1, 5])
@pytest.mark.parametrize('arguments', [dict(alpha=0.08), dict(alpha=0.3, steps=2)])
def test_equals_its_definition_in_float64(prefix, arguments):
    tokens = _tokens('cpu', prefix)
    found = PEARL(**arguments).mix(tokens)[0]
    expected = _by_definition(tokens, prefix, **dict(dict(steps=5), **arguments))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


def test_many_steps_give_a_rotation(device):
    matrices = seeded_images(device, 2, 3, 6, 6)
    rotation = polar_factor(matrices, 60)
    unit = torch.eye(6, device=device).expand(2, 3, 6, 6)
    torch.testing.assert_close(rotation.mT @ rotation, unit, rtol=0, atol=1e-2)


def test_images_of_a_batch_do_not_see_each_other(device):
    tokens = _tokens(device)
    tokens.q[1] *= 5
    together = PEARL().mix(tokens)
    for image in range(2):
        parts = (part[image : image + 1] for part in (tokens.q, tokens.k, tokens.v, tokens.x))
        alone = PEARL().mix(LastTokens(*parts, tokens.grid))[0]
        torch.testing.assert_close(together[image], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_low_precision(dtype, device):
    exact, rough = (PEARL().mix(_tokens(device, dtype=each)) for each in (torch.float32, dtype))
    assert rough.dtype == dtype
    assert (rough.float() - exact).abs().max() < 0.1


def test_equal_tokens_are_finite(device):
    q = torch.ones(1, 2, 13, 8, device=device)
    assert PEARL().mix(LastTokens(q, q, q, q, (3, 4))).isfinite().all()


def test_its_weights_sum_to_one(device):
    tower, images = seeded_tower(2, device=device), seeded_images(device, 1, 3, 48, 64)
    with torch.no_grad():
        method = PEARL()
        weights = method.token_weights(method.prepare(tower, View(images), None)[1])
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:3], device=device))


@pytest.mark.parametrize(
    'arguments, part',
    [
        (dict(alpha=-1), 'alpha=-1 must'),
        (dict(steps=0), 'steps=0 must'),
        (dict(steps=1.5), 'steps=1.5 must'),
    ],
)
def test_bad_arguments(arguments, part):
    with pytest.raises(InputError, match=part):
        PEARL(**arguments)


# Propagation


def _inputs(device, batch=1, size=(30, 43), queries=4):
    maps = seeded_images(device, batch, queries, *size) / 10
    image = seeded_images(device, batch, 3, *size).roll(5, -1)
    return maps, image, F.normalize(seeded_images(device, queries, 8), dim=-1)


def _solved(maps, image, texts, cells):
    """The exact solution of one image, over a dense matrix in float64."""
    maps, image, texts = (each.double() for each in (maps, image, texts))
    sides = [max(round(side / cells), 1) for side in maps.shape[-2:]]
    cosines, pixels = (F.avg_pool2d(each, sides)[0] for each in (maps, image))
    own = (texts @ texts.T / 0.5).softmax(-1)
    weight = (own.diagonal() + 10) / (own.sum(-1) + 10 + 1e-6)
    shares = cosines.softmax(0).flatten(1)
    agreement = (weight[:, None] * shares**2).sum(0).clamp(0, 1)
    confidence = shares.amax(0).clamp(min=0.05) ** 2 * (1 + agreement)
    grey = torch.einsum('chw,c->hw', pixels, torch.tensor([0.299, 0.587, 0.114]).double())
    rows, columns = grey.shape
    matrix = torch.diag(confidence)
    for dy, dx in ((1, 0), (0, 1)):
        pairs = [
            (y * columns + x, (y + dy) * columns + x + dx)
            for y in range(rows - dy)
            for x in range(columns - dx)
        ]
        differences = [float((grey.flatten()[i] - grey.flatten()[j]).abs()) for i, j in pairs]
        mean = sum(differences) / len(differences)
        for (i, j), difference in zip(pairs, differences):
            agree = (weight * shares[:, i] * shares[:, j]).sum().clamp(0, 1)
            ratio = torch.tensor(-5 * difference / (mean + 1e-6))
            edge = min(1.0, float(ratio.exp() * (1 + agree)))
            for a, b in ((i, j), (j, i)):
                matrix[a, a] += edge
                matrix[a, b] -= edge
    solution = torch.linalg.solve(matrix, (confidence * cosines.flatten(1)).T).T
    solution = solution.unflatten(1, (rows, columns))[None]
    return F.interpolate(solution, maps.shape[-2:], mode='bilinear', align_corners=False)


@pytest.mark.parametrize('cells', [8, 10, 50])
def test_many_steps_solve_the_equations(cells):
    inputs = _inputs('cpu', size=(24, 31))
    found = LaplacianPropagation(cells, steps=300)(*inputs)
    torch.testing.assert_close(found.double(), _solved(*inputs, cells), rtol=0, atol=1e-5)


def test_images_of_a_batch_do_not_mix(device):
    maps, image, texts = _inputs(device, batch=3)
    maps[1] *= 3
    together = LaplacianPropagation(10, 5)(maps, image, texts)
    for number in range(3):
        alone = LaplacianPropagation(10, 5)(maps[[number]], image[[number]], texts)[0]
        torch.testing.assert_close(together[number], alone, rtol=0, atol=1e-5)


def test_a_flat_image_and_the_thinnest_one_are_finite(device):
    maps, image, texts = _inputs(device)
    refine = LaplacianPropagation(10)
    assert refine(maps * 0, image * 0, texts).isfinite().all()
    assert refine(maps[..., :1, :], image[..., :1, :], texts).isfinite().all()
    assert refine(maps[:, :1], image, texts[:1]).isfinite().all()


def test_the_laplacian_leaves_out_what_is_the_same(device):
    edges = [torch.ones(1, 1, 2, 4, device=device), torch.ones(1, 1, 3, 3, device=device)]
    assert laplacian(torch.ones(1, 2, 3, 4, device=device), edges).abs().max() == 0
    x = torch.zeros(1, 1, 3, 4, device=device)
    x[0, 0, 1, 1] = 1
    expected = [[0, -1, 0, 0], [-1, 4, -1, 0], [0, -1, 0, 0]]
    assert laplacian(x, edges)[0, 0].tolist() == expected


def test_a_query_like_others_counts_less(device):
    texts = F.normalize(torch.tensor([[1.0, 0, 0], [1, 0, 0.1], [0, 1, 0]], device=device), dim=-1)
    weights = text_weights(texts)
    assert weights[2] > weights[0] and (weights > 10 / 11).all() and (weights <= 1).all()


@pytest.mark.parametrize('arguments', [dict(cells=0), dict(steps=2.5)], ids=str)
def test_bad_arguments_of_the_propagation(arguments):
    with pytest.raises(InputError, match='must be a positive integer'):
        REFINERS.build(dict(type='LaplacianPropagation', **arguments))


def test_a_batch_of_unequal_images_with_propagation_and_without(clip_path, voc_root, device):
    paths = sorted((voc_root / 'VOCdevkit/VOC2012/JPEGImages').iterdir())
    results = {}
    for name, changes in dict(on={}, off=dict(refine=None)).items():
        cfg = load_config('pearl_vit-b16_voc20', clip_path)
        cfg.model.update(changes)
        cfg.test_pipeline[1].scale = (2048, 112)
        model = build_model(cfg, device)
        results[name] = model.test_step(load_images(cfg, paths))
        [alone] = model.test_step(load_images(cfg, paths[:1]))
        scores = results[name][0].seg_logits.data
        torch.testing.assert_close(scores, alone.seg_logits.data, rtol=0, atol=1e-4)
    on, off = (results[name][0].seg_logits.data for name in ('on', 'off'))
    assert on.shape == off.shape and (on - off).abs().max() > 1e-3


def test_text_head_without_texts_is_refused():
    refine = dict(type='LaplacianPropagation')
    feedback = dict(tau=2.0, lam=0.5, temp_thd=0.0, refine=refine)
    with pytest.raises(InputError, match=r'needs the texts, .*method\.sfr\.refine may'):
        METHODS.build(dict(type='ResCLIP', base=dict(type='SCLIP'), sfr=feedback))
    with pytest.raises(InputError, match=r'needs the texts, .*encoder\.refine may'):
        MODELS.build(dict(type='TCLEncoder', clip='none', checkpoint='none', refine=refine))
