import pytest
import torch
from helpers import build_model, load_config, load_images, seeded_clip

from sclip_mmseg import InputError
from sclip_mmseg.models.methods.resclip import (
    line_samples,
    patch_labels,
    patch_similarity,
    smooth_rows,
)
from sclip_mmseg.registry import METHODS

BASES = ('SCLIP', 'ClearCLIP', 'NACLIP')


def test_most_frequent_label_of_a_patch(device):
    labels = torch.tensor([[1, 1, 2, 3, 9], [1, 0, 3, 2, 9], [8, 8, 8, 8, 8]]).to(device)
    other = labels.roll(-2, 1)
    found = patch_labels(torch.stack([labels, other]), patch_size=2, num_labels=10)
    assert found.tolist() == [[[1, 2]], [[2, 1]]]


def _by_hand(labels, full_line):
    """Similarity of the patches of one grid, pair by pair."""
    rows, columns = labels.shape
    patches = [(y, x) for y in range(rows) for x in range(columns)]
    farthest = max(rows, columns) - 1
    result = torch.zeros(len(patches), len(patches))
    for i, (y, x) in enumerate(patches):
        for j, (v, u) in enumerate(patches):
            if labels[y, x] != labels[v, u]:
                continue
            distance = max(abs(v - y), abs(u - x))
            result[i, j] = 1
            for step in range(1, (farthest if full_line else distance) + 1):
                t = step / farthest
                at = labels[round(y + t * (v - y)), round(x + t * (u - x))]
                if distance and at != labels[y, x]:
                    result[i, j] = torch.tensor(-distance / farthest).exp()
    return result


@pytest.mark.parametrize('full_line', [False, True])
@pytest.mark.parametrize('grid', [(4, 6), (5, 5), (1, 3)])
def test_similarity_equals_a_direct_loop(grid, full_line, device):
    torch.manual_seed(0)
    labels = torch.randint(0, 2, (3, *grid))
    expected = torch.stack([_by_hand(single, full_line) for single in labels]).to(device)
    torch.testing.assert_close(patch_similarity(labels.to(device), full_line), expected)


def test_the_prefix_of_a_line_is_shorter(device):
    # Patches 0 and 3 of 1 x 9 share a label, patch 2 has another. The first 3 of 8 samples of their
    # line lie at 0.375, 0.75 and 1.125 and so in patches 0, 1 and 1.
    labels = torch.tensor([[[0, 0, 1, 0, 0, 0, 0, 0, 0]]], device=device)
    assert patch_similarity(labels)[0, 0, 3] == 1
    less = torch.tensor(-3 / 8, device=device).exp()
    assert patch_similarity(labels, full_line=True)[0, 0, 3] == less


def test_line_of_a_pair(device):
    samples = {}
    for pairs, between in line_samples((1, 5), full_line=False, device=device):
        for i, j, patch in zip(*pairs.tolist(), between.tolist()):
            samples.setdefault((i, j), []).append(patch)
    assert samples[0, 4] == [1, 2, 3, 4]
    assert samples[0, 2] == [0, 1]  # t = 1/4 rounds 0.5 to even
    assert (0, 0) not in samples


def test_rows_are_smoothed_with_zeros_around_and_sum_to_one(device):
    impulse = torch.zeros(1, 9, 9, device=device)
    impulse[0, 0, 4] = 1
    smooth = smooth_rows(impulse)
    kernel = (-((torch.arange(9.0, device=device) - 4) ** 2) / 50).exp()
    torch.testing.assert_close(smooth[0, 0], kernel / kernel.sum())
    assert smooth[0, 1:].abs().sum() == 0
    assert smooth_rows(torch.ones(1, 6, 6, device=device)).sum(-1).sub(1).abs().max() < 1e-6


@pytest.fixture
def images(voc_root):
    return sorted((voc_root / 'VOCdevkit/VOC2012/JPEGImages').iterdir())


@pytest.fixture(scope='module')
def deep_clip(tmp_path_factory):
    path = tmp_path_factory.mktemp('deep') / 'clip.pt'
    torch.save(seeded_clip(layers=10), path)
    return str(path)


def _scores(clip, images, method, device='cpu'):
    cfg = load_config('sclip_vit-b16_voc20', clip)
    cfg.model.test_cfg.update(crop_size=96, stride=48)
    cfg.test_pipeline[1].scale = (2048, 112)  # four windows or six
    cfg.model.image_encoder.method = method
    [result] = build_model(cfg, device).test_step(load_images(cfg, images[:1]))
    return result.seg_logits.data


@pytest.mark.parametrize('base', BASES)
def test_without_weight_nothing_changes(deep_clip, images, base, device):
    off = dict(tau=1.0, lam=0.0)
    plain = _scores(deep_clip, images, dict(type=base), device)
    for parts in (
        dict(rcs=off),
        dict(sfr=dict(off, temp_thd=0.1)),
        dict(rcs=off, sfr=dict(off, temp_thd=0.1)),
        dict(),
    ):
        method = dict(type='ResCLIP', base=dict(type=base), **parts)
        scores = _scores(deep_clip, images, method, device)
        torch.testing.assert_close(scores, plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize('base', BASES)
def test_each_part_changes_something(deep_clip, images, base, device):
    plain = _scores(deep_clip, images, dict(type=base), device)
    sfr = dict(tau=2.0, lam=0.7, temp_thd=0.05)
    for parts in (dict(rcs=dict(lam=0.3)), dict(sfr=sfr)):
        method = dict(type='ResCLIP', base=dict(type=base), **parts)
        assert not _scores(deep_clip, images, method, device).allclose(plain, atol=1e-4)


def test_documented_variants_differ(deep_clip, images, device):
    def run(**variant):
        sfr = dict(tau=2.0, lam=0.9, temp_thd=0.0, **variant)
        method = dict(type='ResCLIP', base=dict(type='SCLIP'), sfr=sfr)
        return _scores(deep_clip, images, method, device)

    published = run()
    assert not run(full_line=True).allclose(published, atol=1e-6)
    assert not run(merge_synonyms=True).allclose(published, atol=1e-6)


def test_a_base_without_logits():
    with pytest.raises(InputError, match='base=MaskCLIP has no logits'):
        METHODS.build(dict(type='ResCLIP', base=dict(type='MaskCLIP')))


def test_blocks_that_are_not_there(clip_path, images):
    with pytest.raises(InputError, match=r'blocks \[6, 7, 8, 9\], but only blocks 1 to 2'):
        _scores(clip_path, images, dict(type='ResCLIP', base=dict(type='SCLIP'), rcs=dict()))
