"""Methods that see all windows of an image."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import build_model, load_config, load_images
from PIL import Image
from second_weights import seeded_dinov3

from sclip_mmseg import InputError
from sclip_mmseg.models import View
from sclip_mmseg.models.fusion import cut_windows
from sclip_mmseg.models.methods import SCLIP, OVStitcher, WholeImageMethod
from sclip_mmseg.models.window_cfg import WindowCfg
from sclip_mmseg.models.windowed_image import (
    ImageFeatures,
    Stitching,
    WindowedImage,
    WindowFeatures,
)
from sclip_mmseg.models.windows import Window
from sclip_mmseg.registry import METHODS
from sclip_mmseg.towers.positions import make_rope


@pytest.fixture
def paths(voc_root):
    return sorted((voc_root / 'VOCdevkit/VOC2012/JPEGImages').iterdir())


def _config(clip_path, name, **method):
    cfg = load_config(name, clip_path)
    cfg.model.image_encoder.method.update(method)
    cfg.model.test_cfg.update(crop_size=(96, 96), stride=(48, 48))
    cfg.test_pipeline[1].scale = (2048, 112)
    return cfg


@pytest.fixture
def stitcher(clip_path, dino_path, voc_root, paths, tmp_path):
    """A config of OV-Stitcher with small windows, and maps of the made-up images."""
    rng = np.random.default_rng(0)
    for path in paths:
        blocks = Image.fromarray(rng.integers(0, 5, (4, 5), dtype=np.uint8))
        ids = np.asarray(blocks.resize(Image.open(path).size, Image.NEAREST))
        np.savez(tmp_path / f'{path.stem}.npz', instance_mask=ids)
    cfg = _config(clip_path, 'ovstitcher_vit-b16_voc20', blocks=(1,))
    cfg.model.image_encoder.proxy.checkpoint = dino_path
    cfg.model.region_masks = str(tmp_path / '{stem}.npz')
    return cfg


@pytest.fixture
def window_wise():
    """A whole-image method that gives what SCLIP gives of each window."""

    @METHODS.register_module()
    class WindowWise(WholeImageMethod):
        def __init__(self, scored):
            super().__init__()
            self.scored, self.method = scored, SCLIP()

        def forward(self, tower, image, classify):
            values = torch.cat([self.method(tower, view, classify) for _, view in image.batches()])
            if self.scored:
                values = classify(values).permute(0, 2, 3, 1)
            return WindowFeatures(values, self.scored)

    yield 'WindowWise'
    METHODS._module_dict.pop('WindowWise')


@pytest.mark.parametrize('scored', [False, True])
def test_a_window_method_is_a_whole_image_method(clip_path, paths, window_wise, scored, device):
    plain = build_model(_config(clip_path, 'sclip_vit-b16_voc20'), device)
    expected = plain.test_step(load_images(_config(clip_path, 'sclip_vit-b16_voc20'), paths))
    cfg = _config(clip_path, 'sclip_vit-b16_voc20')
    cfg.model.image_encoder.method = dict(type=window_wise, scored=scored)
    cfg.model.test_cfg.window_batch = 2
    for found, sample in zip(build_model(cfg, device).test_step(load_images(cfg, paths)), expected):
        torch.testing.assert_close(found.seg_logits.data, sample.seg_logits.data)


@pytest.mark.parametrize('direct', [False, True])
def test_features_on_a_grid_are_resized_in_one_step_or_in_two(direct):
    cut = cut_windows(View(torch.zeros(1, 3, 14, 21)), WindowCfg(crop_size=8, stride=4))
    image = WindowedImage(cut, (31, 40), lambda size: 1)
    features = torch.rand(3, 5, 2)
    maps = ImageFeatures(features, direct).maps(image, lambda x: x.permute(0, 3, 1, 2))
    expected = features.permute(2, 0, 1)[None]
    for size in [(31, 40)] if direct else [(14, 21), (31, 40)]:
        expected = F.interpolate(expected, size, mode='bilinear')
    torch.testing.assert_close(maps.fuse((31, 40)).whole(), expected[0])


def test_stitching_is_the_mean_of_what_lies_on_a_cell():
    stitching = Stitching((2, 3), 4, 1, torch.device('cpu'))
    windows = [Window(0, 0, 8, 8), Window(0, 6, 8, 14)]  # the second is laid at column 4
    stitching.add(windows, torch.stack([torch.ones(2, 2, 1), torch.full((2, 2, 1), 3.0)]))
    assert stitching.mean().flatten().tolist() == [1, 2, 3, 1, 2, 3]


def test_images_of_a_batch_do_not_mix_and_windows_come_in_any_batches(stitcher, paths, device):
    together = build_model(stitcher, device).test_step(load_images(stitcher, paths))
    stitcher.model.test_cfg.window_batch = 1
    model = build_model(stitcher, device)
    for path, sample in zip(paths, together):
        [alone] = model.test_step(load_images(stitcher, [path]))
        # A pair of cells near the mean may fall either way, which a neighbour hardly sees.
        torch.testing.assert_close(sample.seg_logits.data, alone.seg_logits.data, rtol=0, atol=1e-3)
        assert (sample.pred_sem_seg.data == alone.pred_sem_seg.data).float().mean() > 0.99


@pytest.mark.parametrize('options', [dict(mode='whole'), dict(crop_size=(160, 160))], ids=str)
def test_one_window_and_sides_below_a_window(stitcher, paths, options, device):
    stitcher.model.test_cfg.update(options)
    [sample] = build_model(stitcher, device).test_step(load_images(stitcher, paths[:1]))
    assert sample.seg_logits.data.isfinite().all()
    assert sample.pred_sem_seg.data.unique().numel() > 1


def test_bfloat16_is_near(stitcher, paths, device):
    [exact] = build_model(stitcher, device).test_step(load_images(stitcher, paths[:1]))
    stitcher.model.image_encoder.precision = 'bf16'
    [near] = build_model(stitcher, device).test_step(load_images(stitcher, paths[:1]))
    assert (near.seg_logits.data - exact.seg_logits.data).abs().mean() < 0.02


def test_its_attention_map_is_of_the_whole_image(stitcher, paths, device):
    model = build_model(stitcher, device)
    images = torch.randn(1, 3, 112, 128, device=device)
    view = View(images, torch.ones(1, 112, 128, dtype=torch.int64, device=device))
    weights = model.image_encoder.attention_map(view, model.text_head)
    patch = model.image_encoder.proxy.tower.patch_size
    grid = 112 // patch, 128 // patch
    assert weights.shape == (1, *grid, *grid)
    torch.testing.assert_close(weights.sum((3, 4)), torch.ones(1, *grid, device=device))


@pytest.mark.parametrize(
    'content, message',
    [
        (None, 'does not exist'),
        ('{', 'is not a JSON file'),
        ('["a cat"]', 'must be an object query → list of sentences'),
        ('{"cat": "a cat"}', 'must be an object query → list of sentences'),
    ],
)
def test_files_of_sentences_that_cannot_be_used(stitcher, tmp_path, content, message):
    path = tmp_path / 'sentences.json'
    if content is not None:
        path.write_text(content)
    stitcher.model.text_head.sentences = str(path)
    with pytest.raises(InputError, match=message):
        build_model(stitcher)


def test_sentences_change_the_queries_that_have_some(stitcher, tmp_path):
    plain = build_model(stitcher).text_head
    path = tmp_path / 'sentences.json'
    path.write_text('{"cat": ["a tabby on a cushion"], "zebra": ["stripes"], "dog": []}')
    stitcher.model.text_head.sentences = str(path)
    changed = build_model(stitcher).text_head
    rows = (plain.embeddings != changed.embeddings).any(1)
    assert [q for q, row in zip(plain.query_set.queries, rows) if row] == ['cat']


def test_rotary_positions_are_those_of_the_image(stitcher, paths, tmp_path, monkeypatch, device):
    torch.save(seeded_dinov3(), tmp_path / 'dinov3.pth')
    stitcher.model.image_encoder.proxy.checkpoint = str(tmp_path / 'dinov3.pth')
    model, seen, see = build_model(stitcher, device), [], OVStitcher._see
    monkeypatch.setattr(
        OVStitcher, '_see', lambda *args: seen.append((args, see(*args))) or seen[-1][1]
    )
    model.test_step(load_images(stitcher, paths[:1]))
    [((_, image, proxy), (features, _, grid))] = seen
    assert len(image.windows) > 1
    tower, last = proxy.tower, proxy.tower.blocks[-1]
    parts = {name: Stitching(grid, 16, tower.width, tower.device) for name in ('normalised', 'x')}
    for windows, view in image.batches():
        tokens = tower.run(proxy.normalise(view.images), {len(tower.blocks): ['normalised']})
        normalised = tokens.patches_of(tokens.blocks[len(tower.blocks)].normalised)
        parts['normalised'].add(windows, normalised.unflatten(1, tokens.grid))
        parts['x'].add(windows, tower.norm(tokens.patches).unflatten(1, tokens.grid))
    q, k, v = last.project(parts['normalised'].mean()[None])
    rope = make_rope(tower.rotary, grid, 0, 64, device)
    mixed = (rope(q) @ rope(k).transpose(-1, -2) / 8).softmax(-1) @ v
    expected = F.normalize(last.merge(parts['x'].mean()[None], mixed)[0], dim=-1)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)
