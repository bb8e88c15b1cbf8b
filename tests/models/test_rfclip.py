import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import build_model, load_config, load_images, seeded_images, seeded_tower

from sclip_mmseg import InputError
from sclip_mmseg.models import View
from sclip_mmseg.models.methods.rfclip import CHANNELS, RFCLIP, denoise, group_queries, key_map
from sclip_mmseg.models.text_head import CLIPTextHead
from sclip_mmseg.models.windowed_image import AdjustedQueries

STRONG = [3, 50, 90]


class Texts:
    """A text head of given embeddings."""

    def __init__(self, embeddings):
        self.embeddings = F.normalize(embeddings, dim=-1)

    __call__ = CLIPTextHead.forward


@pytest.fixture
def paths(voc_root):
    return sorted((voc_root / 'VOCdevkit/VOC2012/JPEGImages').iterdir())


def _config(clip_path, benchmark='voc20', precision='fp32', **method):
    cfg = load_config(f'rfclip_vit-b16_{benchmark}', clip_path)
    cfg.model.image_encoder.precision = precision
    cfg.model.image_encoder.method.update(channels=STRONG, **method)
    cfg.model.test_cfg.update(crop_size=(96, 96), stride=(48, 48))
    cfg.test_pipeline[1].scale = (2048, 112)
    return cfg


def _scores(cfg, paths, device='cpu'):
    samples = build_model(cfg, device).test_step(load_images(cfg, paths))
    return [sample.seg_logits.data for sample in samples]


def test_sinks_are_mixed_with_what_is_around_them(device):
    x = torch.rand(2, 2 + 12, 8, generator=torch.Generator().manual_seed(0))
    x[0, 2 + 0, 3] = x[0, 2 + 6, 3] = x[1, 2 + 11, 5] = 40
    x[1, 2 + 4, 6] = 40  # in no channel that is watched
    found = denoise(x.to(device), (3, 4), torch.tensor([3, 5], device=device)).cpu()
    expected = x.clone()
    for image, patch in ((0, 0), (0, 6), (1, 11)):
        row, column = divmod(patch, 4)
        total = torch.zeros(8)
        for y in range(max(row - 1, 0), min(row + 2, 3)):
            for z in range(max(column - 1, 0), min(column + 2, 4)):
                total += x[image, 2 + 4 * y + z]
        expected[image, 2 + patch] = 0.6 * x[image, 2 + patch] + 0.4 * total / 9
    torch.testing.assert_close(found, expected)


def test_a_plain_patch_is_not_a_sink(device):
    x = torch.ones(1, 5, 8, device=device)
    assert denoise(x, (2, 2), torch.tensor([1], device=device)).equal(x)


def test_queries_of_a_group_are_near_each_other():
    angles = np.deg2rad([0, 3, 90, 5, 90, 180])  # 3° are a distance of 0.0014, 5° of 0.0038
    texts = np.stack([np.cos(angles), np.sin(angles)], 1)

    def groups(distance):
        labels = group_queries(texts, distance)
        return {frozenset(np.flatnonzero(labels == label)) for label in labels}

    assert groups(0) == {frozenset(group) for group in ([0], [1], [2, 4], [3], [5])}
    assert groups(0.002) == {frozenset(group) for group in ([0], [1, 3], [2, 4], [5])}
    assert groups(0.01) == {frozenset(group) for group in ([0, 1, 3], [2, 4], [5])}
    assert groups(3) == {frozenset(range(6))}
    assert group_queries(texts[:1], 0.1).tolist() == [0]


def test_groups_are_found_once_for_a_list(monkeypatch, device):
    method, calls = RFCLIP(group_distance=0.5), []
    monkeypatch.setattr(
        'sclip_mmseg.models.methods.rfclip.group_queries',
        lambda *args: calls.append(args) or group_queries(*args),
    )
    texts = F.normalize(seeded_images(device, 5, 8), dim=-1)
    first = method.groups(texts)
    assert method.groups(texts.clone()) is first and len(calls) == 1
    assert method.groups(-texts).shape == first.shape and len(calls) == 2


def test_adjustment_by_its_definition(device):
    texts = Texts(seeded_images(device, 7, 6))
    texts.embeddings[5] = texts.embeddings[2]  # a group, of which the first is adjusted
    method = RFCLIP(global_weight=0.3, patch_weight=0.2, group_distance=0.4)
    features, given = seeded_images(device, 3, 9, 6), seeded_images(device, 3, 6)
    found = method.adjust(features, given, method.groups(texts.embeddings), texts)
    groups = [row[row >= 0].tolist() for row in method.groups(texts.embeddings)]
    assert [2, 5] in groups or any({2, 5} < set(group) for group in groups)
    for number in range(3):
        similar = texts.embeddings @ F.normalize(given[number], dim=0)
        rows = F.normalize(features[number], dim=-1)
        expected = texts.embeddings.clone()
        for group in groups:
            best = max(group, key=lambda query: (round(float(similar[query]), 5), -query))
            nearest = (rows @ texts.embeddings[best]).topk(2).indices
            mean = F.normalize(rows[nearest].mean(0), dim=0)
            expected[best] = F.normalize(0.8 * texts.embeddings[best] + 0.2 * mean, dim=0)
        torch.testing.assert_close(found.embeddings[number], 0.7 * expected)
        torch.testing.assert_close(found.offsets[number], 0.3 * similar)


def test_the_text_head_compares_with_adjusted_queries(device):
    texts, features = Texts(seeded_images(device, 4, 6)), seeded_images(device, 2, 3, 5, 6)
    plain = texts.embeddings.repeat(2, 1, 1)
    same = texts(features, AdjustedQueries(plain, torch.zeros(2, 4, device=device)))
    torch.testing.assert_close(same, texts(features))
    plain[1] *= 0.5
    offsets = torch.arange(8.0, device=device).unflatten(0, (2, 4))
    found = texts(features, AdjustedQueries(plain, offsets))
    torch.testing.assert_close(found[0], texts(features)[0] + offsets[0][:, None, None])
    torch.testing.assert_close(found[1], texts(features)[1] / 2 + offsets[1][:, None, None])


def _by_definition(tower, images, channels, threshold=0.4):
    """Features of one image, block by block in float64, and its class token's."""
    grid = tower.grid(images)
    count = grid[0] * grid[1]
    x, outputs, maps = tower.embed(images)[0], [], 0
    for number, block in enumerate(tower.blocks):
        inputs, k = x, block.project(block.norm1(x))[1].double()
        if number < len(tower.blocks) - 1:
            maps = maps + (k @ k.mT / 8).softmax(-1)[..., -count:, -count:]
        x = denoise(block(x), grid, torch.tensor(channels))
        outputs.append(x.double())
    guide = sum(outputs) / len(outputs)
    rows = F.normalize(guide[0, -count:], dim=-1)
    similarity = rows @ rows.T
    similarity = torch.where(similarity < threshold, 0, similarity)
    last, joined = tower.blocks[-1], []
    for z in (inputs.double(), guide):
        z = torch.cat([z[:, :-count], similarity @ z[:, -count:]], 1)
        weight, bias = last.norm1.weight.double(), last.norm1.bias.double()
        n = F.layer_norm(z, z.shape[-1:], weight, bias, 1e-5)
        qkv = n @ last.qkv.weight.double().T + last.qkv.bias.double()
        _, k, v = qkv.unflatten(-1, (3, last.heads, -1)).permute(2, 0, 3, 1, 4)
        own = (k @ k.mT / 8).softmax(-1)[..., -count:, -count:]
        mixed = ((maps + own) / len(tower.blocks) @ v[:, :, -count:]).transpose(1, 2).flatten(2)
        joined.append(mixed @ last.out.weight.double().T + last.out.bias.double())
    weight, bias = tower.norm.weight.double(), tower.norm.bias.double()
    mean = F.layer_norm(sum(joined) / 2, z.shape[-1:], weight, bias, 1e-5)
    return (mean @ tower.proj.double()).unflatten(1, grid), tower.read_out(x[:, 0])


@torch.no_grad()
@pytest.mark.parametrize('size', [(64, 96), (80, 50)])
def test_equals_its_definition_in_float64(size):
    tower, images = seeded_tower(4), seeded_images('cpu', 2, 3, *size)
    tower.norm_pre.bias.data[STRONG] += 6
    found, own = RFCLIP(channels=STRONG)._encode(tower, images)
    for number, image in enumerate(images):
        expected, token = _by_definition(tower, image[None], STRONG)
        difference = (found[number] - expected[0]).abs().max() / expected.abs().max()
        assert difference < 1e-4
        torch.testing.assert_close(own[number], token[0], rtol=0, atol=1e-4)


def test_a_batch_of_unequal_images_and_any_batch_of_windows(clip_path, paths, device):
    cfg = _config(clip_path)
    together = _scores(cfg, paths, device)
    cfg.model.test_cfg.window_batch = 1
    for path, scores in zip(paths, together):
        [alone] = _scores(cfg, [path], device)
        torch.testing.assert_close(scores, alone, rtol=0, atol=1e-4)


def test_the_image_or_each_window_is_compared_with_the_queries(clip_path, paths):
    image, window = (
        _scores(_config(clip_path, global_from=each), paths[:1])[0] for each in ('image', 'window')
    )
    assert (image - window).abs().max() > 1e-3
    whole = []
    for each in ('image', 'window'):
        cfg = _config(clip_path, global_from=each)
        cfg.model.test_cfg.mode = 'whole'
        whole.append(_scores(cfg, paths[:1])[0])
    assert whole[0].equal(whole[1])


def test_bfloat16_is_near(clip_path, paths, device):
    [exact] = _scores(_config(clip_path), paths[:1], device)
    [near] = _scores(_config(clip_path, precision='bf16'), paths[:1], device)
    assert (near - exact).abs().mean() < 0.02


def test_features_scores_and_map_of_images_in_one_window(clip_path, device):
    model = build_model(_config(clip_path), device)
    images = seeded_images(device, 2, 3, 64, 80)
    encoder, head = model.image_encoder, model.text_head
    features = model.extract_feat(images)
    assert features.shape[:3] == (2, 4, 5)
    scores = encoder(View(images), head)
    assert scores.shape == (2, len(head.embeddings), 4, 5)
    assert (scores - head(features)).abs().max() > 1e-3  # whose queries are not adjusted
    torch.testing.assert_close(encoder(View(images[1:]), head)[0], scores[1], rtol=0, atol=1e-5)
    weights = encoder.attention_map(View(images), head)
    assert weights.shape == (2, 4, 5, 4, 5) and (weights.sum((3, 4)) < 1).all()


def test_key_map_leaves_the_prefix_out(device):
    k = seeded_images(device, 1, 2, 7, 4)
    weights = (k @ k.mT / 2).softmax(-1)
    torch.testing.assert_close(key_map(k, 5), weights[:, :, 2:, 2:])


@pytest.mark.parametrize(
    'arguments, part',
    [
        (dict(global_weight=1.1), 'global_weight=1.1 must'),
        (dict(patch_weight=-0.1), 'patch_weight=-0.1 must'),
        (dict(group_distance=-1), 'group_distance=-1 must'),
        (dict(global_from='patch'), "global_from='patch' must be 'image' or 'window'"),
        (dict(channels=[]), 'channels=.* must be a list'),
        (dict(channels=[-1]), 'channels=.* must be a list'),
        (dict(threshold=1), 'threshold=1 must'),
    ],
)
def test_bad_arguments(arguments, part):
    with pytest.raises(InputError, match=part):
        RFCLIP(**arguments)


def test_channels_are_those_of_the_tower():
    tower = seeded_tower(1)
    with pytest.raises(InputError, match='width 128 and patches of 16: set .*method.channels'):
        RFCLIP().check(tower)
    with pytest.raises(InputError, match='the tower has 128 channels, from 0 to 127'):
        RFCLIP(channels=[128]).check(tower)
    RFCLIP(channels=[127]).check(tower)
    tower.width = 768
    assert RFCLIP().channels_of(tower) == CHANNELS[768, 16]
