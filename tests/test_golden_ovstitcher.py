"""OV-Stitcher compared with the authors' program, through the shipped configs."""

import json
import sys

import numpy as np
import pytest
import torch
from helpers import build_model, each_case, load_config, load_images
from paths import SHARED

from sclip_mmseg.models.fusion import cut_windows
from sclip_mmseg.models.windowed_image import WindowedImage

pytestmark = pytest.mark.golden

FOLDER = SHARED / 'later/ovstitcher'
NAMES = {'city_scapes': 'cityscapes'}
CASES = {'': {}}
# The default run has one of many regions, and one whose regions are absent from most windows.
QUICK = {'', 'slic_2007_004189-voc21'}
if FOLDER.is_dir():
    CASES = {
        f'{case["file"][11:-4]}-{benchmark}': dict(case, benchmark=benchmark)
        for case in json.loads((FOLDER / 'cases.json').read_text())
        for benchmark in case['benchmarks']
    }


@pytest.fixture(scope='session')
def weights(shared, tmp_path_factory):
    """Paths of the seeded CLIP and DINO."""
    sys.path.insert(0, str(FOLDER))
    from tiny_stitch import stitch_clip_state_dict, stitch_dino_state_dict

    folder = tmp_path_factory.mktemp('ovstitcher')
    torch.save(stitch_clip_state_dict(0), folder / 'clip.pt')
    torch.save(stitch_dino_state_dict(0), folder / 'dino.pt')
    return str(folder / 'clip.pt'), str(folder / 'dino.pt')


def _config(weights, case):
    clip, dino = weights
    cfg = load_config(f'ovstitcher_vit-b16_{NAMES.get(case["benchmark"], case["benchmark"])}', clip)
    cfg.model.image_encoder.proxy.checkpoint = dino
    cfg.model.region_masks = str(FOLDER / 'masks' / case['mask'].split('/')[1] / '{stem}.npz')
    cfg.model.text_head.sentences = str(FOLDER / 'templates.json')
    return cfg


def _far_from(rows, grid, shape, step):
    """Mask of every `step`-th pixel that lies at least 1.5 cells from all given cells."""
    far = np.ones([-(-side // step) for side in shape], bool)
    height, width = shape[0] / grid[0], shape[1] / grid[1]
    y, x = (np.arange(0, side, step) + 0.5 for side in shape)
    for row in rows:
        r, c = divmod(int(row), grid[1])
        near_y, near_x = abs(y / height - r - 0.5) < 1.5, abs(x / width - c - 0.5) < 1.5
        far &= ~(near_y[:, None] & near_x[None])
    return far


def _check_features(model, data, case, golden):
    inputs = model.data_preprocessor(data)
    [image] = model._read_inputs(inputs['inputs'], inputs['data_samples'])
    cut = cut_windows(image.view(), model.windows)
    boxes = [[w.top, w.left, w.bottom, w.right] for w in cut.windows]
    assert boxes == case['window_boxes']
    windowed = WindowedImage(cut, image.size, model.window_batch)
    encoder = model.image_encoder
    method = encoder.method
    found = method(encoder.tower, windowed, model.text_head, proxy=encoder.proxy)
    features = found.features.flatten(0, 1)[::12].cpu().numpy()
    expected, largest = golden['features'], np.abs(golden['features']).max()
    unsure = np.isin(np.arange(0, found.features.flatten(0, 1).shape[0], 12), golden['unsure_rows'])
    np.testing.assert_allclose(features[~unsure], expected[~unsure], rtol=0, atol=1e-5 * largest)
    np.testing.assert_allclose(features[unsure], expected[unsure], rtol=0, atol=2e-3)
    _, regions, grid = method._see(windowed, encoder.proxy)
    assert grid == tuple(case['grid'])
    _assert_same_regions(regions[0].cpu().numpy(), golden['regions'].flatten())


def _assert_same_regions(found, expected):
    """Check that regions are equal up to their ids, except for the unsegmented part."""
    pairs = set(zip(found.tolist(), expected.tolist()))
    assert len(pairs) == len(set(found.tolist())) == len(set(expected.tolist()))


@torch.no_grad()
@each_case(CASES, QUICK)
def test_case(shared, weights, case, device):
    golden, benchmark = np.load(FOLDER / case['file']), case['benchmark']
    cfg = _config(weights, case)
    model = build_model(cfg, device)
    embeddings = model.text_head.embeddings.cpu().numpy()
    np.testing.assert_allclose(embeddings, golden[f'{benchmark}_text'], rtol=0, atol=1e-5)
    data = load_images(cfg, [shared / 'data' / case['image']])
    _check_features(model, data, case, golden)
    variants = {benchmark: {}}
    variants |= {n: v for n, v in case.get('variants', {}).items() if v['benchmark'] == benchmark}
    for name, variant in variants.items():
        if variant:
            cfg.model.test_cfg.prob_thd = variant['prob_thd']
            model = build_model(cfg, device)
        [result] = model.test_step(load_images(cfg, [shared / 'data' / case['image']]))
        found = result.pred_sem_seg.data[0].cpu().numpy()
        before = result.seg_logits.data.cpu()
        labels = model.rule.decide(before.clone())[1].numpy()
        assert (labels == golden[f'{name}_pred_before']).mean() >= 0.9999
        assert (found == golden[f'{name}_pred']).mean() >= 0.9999
        if not variant:
            scores, expected = before.numpy()[:, ::16, ::16], golden[f'{benchmark}_prob']
            far = _far_from(golden['unsure_rows'], case['grid'], found.shape, 16)
            np.testing.assert_allclose(scores[:, far], expected[:, far], rtol=0, atol=1e-4)
            np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-3)
