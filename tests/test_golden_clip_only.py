"""SFP, RF-CLIP and PEARL compared with the authors' programs, by shipped configs."""

import json
import sys

import numpy as np
import pytest
import torch
from exactness import (
    FEATURES,
    assert_close,
    assert_features_agree,
    assert_results_agree,
    assert_texts_agree,
)
from helpers import build_model, each_case, load_config, load_images
from paths import SHARED

from sclip_mmseg.models import View
from sclip_mmseg.models.fusion import cut_windows
from sclip_mmseg.models.methods import rfclip
from sclip_mmseg.models.windowed_image import WindowedImage
from sclip_mmseg.models.windows import Window
from sclip_mmseg.registry import METHODS

pytestmark = pytest.mark.golden

FOLDER = SHARED / 'later/clip_only_2026'
SYSTEMS = {'sfp': 'SFP', 'rfclip': 'RFCLIP', 'pearl': 'PEARL'}
#: Variants of a case: what their arrays are named after, and the config and its changes.
VARIANTS = {
    'rfclip': {'_pamr10': ('rfclip-pamr', {})},
    'pearl': {'_notlp': ('pearl', dict(refine=None))},
}
CASES = {'': {}}
# The default run has a case of each without its variants, which takes few seconds.
QUICK = {'', 'sfp_2007_004189-voc21', 'rfclip_2007_004189-voc20', 'pearl_2007_004189-voc20'}
if FOLDER.is_dir():
    CASES = {
        f'{case["file"][:-4]}-{benchmark}': dict(case, **settings, benchmark=benchmark)
        for case in json.loads((FOLDER / 'cases.json').read_text())
        for benchmark, settings in case['benchmarks'].items()
    }
RULES = {'': {}, '_L2': dict(rule='norm'), '_LOF': dict(rule='factor')}


@pytest.fixture(scope='session')
def deep_clip(shared, tmp_path_factory):
    """Path of the seeded CLIP of a method's golden files."""
    sys.path.insert(0, str(FOLDER))
    from tiny_deep import deep_clip_state_dict

    folder = tmp_path_factory.mktemp('clip_only')

    def path_of(method):
        path = folder / f'{method}.pt'
        if not path.is_file():
            torch.save(deep_clip_state_dict(0, method), path)
        return str(path)

    return path_of


def _every(features, expected, step=None):
    """Features ``[N, D]``, as many as are expected."""
    step = step or -(-len(features) // len(expected))
    return features[::step]


def _check_sfp(model, image, golden, prefix):
    encoder = model.image_encoder
    for rule, arguments in RULES.items():
        name = f'{prefix}{rule}_win0_'
        if name + 'features' not in golden:
            continue
        method, seen = METHODS.build(dict(arguments, type='SFP')), []
        find = method.find
        method.find = lambda *args, f=find, seen=seen: seen.append(f(*args)) or seen[0]
        expected = golden[name + 'features']
        for images in _as_rounded(image.images):
            features = method(encoder.tower, View(images), model.text_head)[0].flatten(0, 1)
            difference = np.abs(_every(features, expected).numpy() - expected)
            if difference.max() < FEATURES * np.abs(expected).max():
                break
        assert_features_agree(_every(features, expected), expected)
        outliers = seen[0][0].nonzero().flatten().tolist()
        assert outliers == sorted(golden[name + 'outliers'].tolist())


def _as_rounded(images):
    """The images, and some that differ by 1e-6 of their values.

    SFP cuts similarities off at their mean. Where one is nearer to it than float32 resolves, CPUs
    differ, which changes features by 1e-4: any rounding of the input may be the authors'.
    """
    yield images
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        yield images * (1 + 1e-6 * torch.randn(images.shape, generator=generator))


def _check_pearl(model, image, golden, prefix):
    encoder, expected = model.image_encoder, golden[f'{prefix}_win0_features']
    features = encoder.method(encoder.tower, image, model.text_head)[0].flatten(0, 1)
    assert_features_agree(_every(features, expected), expected)


def _check_rfclip(model, image, golden, prefix, monkeypatch):
    name, encoder = f'{prefix}_win0_', model.image_encoder
    method, texts = encoder.method, model.text_head.embeddings
    groups = torch.empty(len(texts), dtype=torch.int64, device=texts.device)
    for number, members in enumerate(method.groups(texts)):
        groups[members[members >= 0]] = number
    pairs = set(zip(groups.tolist(), golden[f'{prefix}_clusters'].tolist()))
    assert len(pairs) == len(set(golden[f'{prefix}_clusters'].tolist())) == groups.max() + 1
    sinks, denoise = [], rfclip.denoise

    def watched(x, grid, channels):
        result = denoise(x, grid, channels)
        count = grid[0] * grid[1]
        sinks.append(((result - x).abs().amax(-1) > 1e-3)[0, -count:].cpu().numpy())
        return result

    with monkeypatch.context() as patch:
        patch.setattr(rfclip, 'denoise', watched)
        features, own = method._encode(encoder.tower, image.images)
    if name + 'sinks' in golden:
        expected = np.unpackbits(golden[name + 'sinks'], axis=1)[:, : sinks[0].size]
        np.testing.assert_array_equal(sinks, expected.astype(bool))
    assert_features_agree(own, golden[name + 'class'][None])
    if name + 'features' in golden:
        expected = golden[name + 'features']
        features = features.flatten(1, 2)[0]
        assert_features_agree(_every(features, expected), expected, system='RFCLIP')


def _check_adjustment(model, data, golden, prefix):
    """The queries of the first window as the whole image has them adjusted."""
    inputs = model.data_preprocessor(data)
    [image] = model._read_inputs(inputs['inputs'], inputs['data_samples'])
    windowed = WindowedImage(
        cut_windows(image.view(), model.windows), image.size, model.window_batch
    )
    encoder = model.image_encoder
    adjusted = encoder.method(encoder.tower, windowed, model.text_head).adjusted
    weight = encoder.method.global_weight
    assert_close(adjusted.offsets[0] / weight, golden[f'{prefix}_win0_global'], 1e-5)
    found = (adjusted.embeddings[0] / (1 - weight)).cpu().numpy()
    difference = np.abs(found - golden[f'{prefix}_win0_adjusted_text']).max(-1)
    # The second and the third nearest patch of a query may be closer than float32 tells.
    assert (difference > 1e-5).sum() <= 2 and difference.max() < 1e-3


def _compare(model, data, golden, name, system):
    [result] = model.test_step(data)
    scores = result.seg_logits.data
    if system == 'pearl':  # as its program stores them
        scores = scores / scores.sum(0)
    expected = golden[f'{name}_prob'], golden[f'{name}_pred']
    assert_results_agree(scores, result.pred_sem_seg.data[0], *expected, SYSTEMS[system])


@torch.no_grad()
@each_case(CASES, QUICK)
def test_case(shared, deep_clip, case, device, monkeypatch):
    golden, benchmark = np.load(FOLDER / case['file']), case['benchmark']
    system = case['method']
    cfg = load_config(f'{system}_vit-b16_{benchmark}', deep_clip(system))
    model = build_model(cfg, device)
    assert_texts_agree(model, golden[f'{benchmark}_text'])
    data = load_images(cfg, [shared / 'data' / case['image']])
    image = View(torch.stack(list(model.data_preprocessor(data)['inputs'])))
    if case['mode'] == 'slide':
        image = image.cut(Window(0, 0, 224, 224))
    if system == 'rfclip':
        _check_rfclip(model, image, golden, benchmark, monkeypatch)
        _check_adjustment(model, data, golden, benchmark)
    elif f'{benchmark}_win0_features' in golden:
        check = _check_sfp if system == 'sfp' else _check_pearl
        check(model, image, golden, benchmark)
    if f'{benchmark}_prob' in golden:
        _compare(model, data, golden, benchmark, system)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_variants(shared, deep_clip, case, device):
    golden, benchmark = np.load(FOLDER / case['file']), case['benchmark']
    system = case['method']
    for variant, (name, changes) in VARIANTS.get(system, {}).items():
        if f'{benchmark}{variant}_prob' in golden:
            cfg = load_config(f'{name}_vit-b16_{benchmark}', deep_clip(system))
            cfg.model.update(changes)
            data = load_images(cfg, [shared / 'data' / case['image']])
            _compare(build_model(cfg, device), data, golden, f'{benchmark}{variant}', system)
