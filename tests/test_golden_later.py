"""SC-CLIP and GEM compared with the authors' programs, through the shipped configs."""

import json
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exactness import (
    assert_close,
    assert_features_agree,
    assert_labels_agree,
    assert_results_agree,
    assert_texts_agree,
)
from helpers import build_model, load_config, load_images
from paths import SHARED
from PIL import Image

from sclip_mmseg.datasets import load_queries
from sclip_mmseg.models import View
from sclip_mmseg.models.methods.scclip import find_anomalies, local_outlier_factors
from sclip_mmseg.models.windows import Window
from sclip_mmseg.towers import Resampling

pytestmark = pytest.mark.golden

LATER = SHARED / 'later'
METHODS = ('scclip', 'gem')
CASES = {'': {}}
if LATER.is_dir():
    CASES = {
        f'{case["file"]}-{benchmark}': dict(case, benchmark=benchmark)
        for case in json.loads((LATER / 'golden/cases.json').read_text())
        if case['method'] in METHODS
        for benchmark in case['benchmarks']
        if benchmark != 'api'
    }


@pytest.fixture(scope='session')
def later_clip(shared, tmp_path_factory):
    """Path of the seeded CLIP of a method's golden files; all have one text tower."""
    sys.path.insert(0, str(LATER))
    from tiny_later import later_clip_state_dict

    folder = tmp_path_factory.mktemp('later')
    for name in METHODS:
        torch.save(later_clip_state_dict(0, name), folder / f'{name}.pt')
    return lambda name: str(folder / f'{name}.pt')


def _config(later_clip, method, benchmark):
    cfg = load_config(f'{method}_vit-b16_{benchmark}', later_clip(method))
    cfg.model.text_head.clip = later_clip(METHODS[0])  # so that embeddings are cached once
    return cfg


def _check_first_window(model, case, data, golden):
    prefix = f'{case["benchmark"]}_win0_'
    images = model.data_preprocessor(data)['inputs']
    view = View(torch.stack(list(images))).cut(Window(0, 0, 224, 224))
    tower, method = model.image_encoder.tower, model.image_encoder.method
    features = method(tower, view, model.text_head)[0]
    assert_features_agree(features.flatten(0, 1), golden[prefix + 'features'])
    if case['method'] == 'scclip':
        x, _ = tower.embed(view.images)
        for block in tower.blocks[:-1]:
            x = block(x)
        factors = local_outlier_factors(x[:, 1:], method.neighbours)
        np.testing.assert_allclose(factors[0].cpu(), golden[prefix + 'lof'], rtol=1e-4)
        [anomalous] = find_anomalies(factors, method.share)
        assert anomalous.nonzero().flatten().tolist() == sorted(golden[prefix + 'outliers'])


@torch.no_grad()
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_case(shared, later_clip, case, device):
    benchmark = case['benchmark']
    golden = np.load(LATER / 'golden' / case['file'])
    cfg = _config(later_clip, case['method'], benchmark)
    model = build_model(cfg, device)
    assert_texts_agree(model, golden[f'{benchmark}_text'])
    data = load_images(cfg, [shared / 'data' / case['image']])
    if f'{benchmark}_win0_features' in golden:
        _check_first_window(model, case, data, golden)
    [result] = model.test_step(data)
    expected = golden[f'{benchmark}_prob'], golden[f'{benchmark}_pred']
    assert_results_agree(result.seg_logits.data, result.pred_sem_seg.data[0], *expected)


def _gem(later_clip, device, **method):
    """GEM with its own text: one prompt for each class."""
    cfg = _config(later_clip, 'gem', 'voc20')
    queries = [names[0] for names in load_queries('voc20').by_class]
    cfg.model.text_head.update(queries=queries, templates=['a photo of a {}.'])
    cfg.model.image_encoder.method.update(method)
    return build_model(cfg, device)


@pytest.fixture(scope='module')
def squashed(shared, device):
    """The photograph as GEM's own call sees it."""
    path = shared / 'data/VOCdevkit/VOC2012/JPEGImages/2007_004189.jpg'
    image = Image.open(path).convert('RGB').resize((448, 448), Image.BICUBIC)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    return View(((pixels - mean) / std)[None].to(device))


@pytest.fixture(scope='module')
def api(shared):
    return np.load(LATER / 'golden/gem_2007_004189.npz')


@torch.no_grad()
@pytest.mark.parametrize(
    'suffix, stride, method',
    [
        ('', 2, {}),
        ('_iter2', 8, dict(iterations=2)),
        ('_temp5', 8, dict(temperature=5.0)),
        ('_depth4', 8, dict(depth=4)),
    ],
)
def test_gem_on_a_whole_image(later_clip, squashed, api, suffix, stride, method, device):
    model = _gem(later_clip, device, **method)
    encoder = model.image_encoder
    features = encoder.method(encoder.tower, squashed, model.text_head).flatten(1, 2)[0]
    assert_features_agree(features[::stride], api[f'api_features{suffix}'])


@torch.no_grad()
def test_gem_decides_as_its_own_call(later_clip, squashed, api, device):
    model = _gem(later_clip, device)
    assert_texts_agree(model, api['api_text'])
    cosines = model.image_encoder(squashed, model.text_head)
    assert_close(cosines.flatten(2)[0].T, api['api_cosines'], 1e-5)
    maps = F.interpolate(cosines, (448, 448), mode='bilinear', align_corners=False)[0]
    assert_labels_agree(maps.argmax(0), api['api_argmax_cosine'])


@torch.no_grad()
def test_gem_resamples_positions_by_its_own_rule(later_clip, squashed, api, device):
    tower = _gem(later_clip, device).image_encoder.tower
    x, _ = tower.embed(squashed.images, Resampling(offset=None, antialias=True))
    for block in tower.blocks:
        x = block(x)
    assert_features_agree(tower.read_out(x[:, 1:])[0, ::8], api['api_original_features'])
