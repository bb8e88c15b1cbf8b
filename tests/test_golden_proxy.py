"""Methods with a second tower, compared with the authors' programs."""

import json
import sys

import numpy as np
import pytest
import torch
from exactness import (
    assert_features_agree,
    assert_labels_agree,
    assert_results_agree,
    assert_texts_agree,
)
from helpers import build_model, load_config, load_images
from paths import SHARED

from sclip_mmseg.models import View
from sclip_mmseg.models.methods import corrclip

pytestmark = pytest.mark.golden

# Of the cases → of the shipped configs.
PROXIES = {
    'dino_b8': 'dino-b8',
    'dino_b16': 'dino-b16',
    'dinov2': 'dinov2-b14',
    'dinov2_reg': 'dinov2-b14-reg',
}


def _cases(folder, method):
    path = SHARED / folder / 'cases.json'
    cases = json.loads(path.read_text()) if path.is_file() else []
    return [
        pytest.param(case, benchmark, id=f'{case["file"][:-4]}-{benchmark}')
        for case in cases
        if case['method'] == method
        for benchmark in case['benchmarks']
    ] or [pytest.param({}, '', marks=pytest.mark.skip('../shared is not beside this clone'))]


@pytest.fixture(scope='module')
def weights(shared, tmp_path_factory):
    """Paths of the seeded checkpoints."""
    with pytest.MonkeyPatch.context() as patch:
        folders = ('golden', 'later', 'later/corrclip')
        patch.setattr(sys, 'path', [*(str(shared / folder) for folder in folders), *sys.path])
        from tiny_corr import corr_clip_state_dict, corr_dino_state_dict
        from tiny_dino import tiny_dino_state_dict, tiny_dinov2_state_dict
        from tiny_later import later_clip_state_dict
    states = {
        'proxyclip': later_clip_state_dict(0, 'proxyclip'),
        # As MetaCLIP's file may come.
        'corrclip': {
            'state_dict': {f'module.{key}': v for key, v in corr_clip_state_dict(0).items()}
        },
        'corrclip_dino': corr_dino_state_dict(0),
        'dino_b8': tiny_dino_state_dict(0, patch_size=8),
        'dino_b16': tiny_dino_state_dict(0, patch_size=16),
        'dinov2': tiny_dinov2_state_dict(0, registers=0),
        'dinov2_reg': tiny_dinov2_state_dict(0, registers=4),
    }
    folder = tmp_path_factory.mktemp('golden')
    for name, state in states.items():
        torch.save(state, folder / f'{name}.pth')
    return {name: str(folder / f'{name}.pth') for name in states}


def _first_window(model, data):
    inputs = model.data_preprocessor(data)['inputs']
    return View(inputs[:, :, :336, :336])


@pytest.mark.parametrize('case, benchmark', _cases('later/golden', 'proxyclip'))
def test_proxyclip(shared, weights, case, benchmark, device):
    golden = np.load(shared / 'later/golden' / case['file'])
    cfg = load_config(
        f'proxyclip-{PROXIES[case["proxy"]]}_vit-b16_{benchmark}', weights['proxyclip']
    )
    cfg.model.image_encoder.proxy.checkpoint = weights[case['proxy']]
    model = build_model(cfg, device)
    data = load_images(cfg, [shared / 'data' / case['image']])
    assert_texts_agree(model, golden[f'{benchmark}_text'])
    if f'{benchmark}_win0_proxy' in golden:
        view, encoder = _first_window(model, data), model.image_encoder
        features = encoder.proxy(view.images)[0].flatten(0, 1)
        assert_features_agree(features[::16], golden[f'{benchmark}_win0_proxy'])
        features = encoder.method(encoder.tower, view, model.text_head, proxy=encoder.proxy)
        assert_features_agree(
            features[0].flatten(0, 1)[::4], golden[f'{benchmark}_win0_features'], 4
        )
    [result] = model.test_step(data)
    expected = golden[f'{benchmark}_prob'], golden[f'{benchmark}_pred']
    labels = result.pred_sem_seg.data[0]
    assert_results_agree(result.seg_logits.data, labels, *expected, 'ProxyCLIP')


class Watch:
    """Notes what CorrCLIP computes inside: a list per batch of windows."""

    def __init__(self, model, monkeypatch):
        self.dino, self.regions, self.branches, self.features = [], [], [], []
        self.before = None
        merge = corrclip.merge_regions

        def noted(regions, features, distance):
            merged = merge(regions, features, distance)
            self.dino.append(features)
            self.regions.append(merged)
            return merged

        monkeypatch.setattr(corrclip, 'merge_regions', noted)
        encoder = model.image_encoder
        encoder.tower.norm.register_forward_hook(lambda *args: self.branches.append(args[2]))
        encoder.method.register_forward_hook(
            lambda *args: self.features.append(args[2].flatten(1, 2))
        )
        model.postprocess.register_forward_pre_hook(self.note_labels)

    def note_labels(self, module, args):
        self.before = args[0]


@pytest.mark.parametrize('case, benchmark', _cases('later/corrclip', 'corrclip'))
def test_corrclip(shared, weights, monkeypatch, case, benchmark, device):
    folder = shared / 'later/corrclip'
    golden = np.load(folder / case['file'])
    name = {'coco_stuff': 'coco_stuff164k'}.get(benchmark, benchmark)
    cfg = load_config(f'corrclip_vit-b16_{name}', weights['corrclip'])
    cfg.model.image_encoder.proxy.checkpoint = weights['corrclip_dino']
    cfg.model.region_masks = str((folder / case['mask']).parent / '{stem}.npz')
    cfg.model.test_cfg.window_batch = 2  # windows with unequal numbers of regions
    cfg.test_pipeline[1].scale = (2048, case['benchmarks'][benchmark]['short_side'])
    model = build_model(cfg, device)
    assert_texts_agree(model, golden[f'{benchmark}_text'])
    watch = Watch(model, monkeypatch)
    [result] = model.test_step(load_images(cfg, [shared / 'data' / case['image']]))

    windows = zip(torch.cat(watch.features), torch.cat(watch.regions).cpu())
    for number, (features, regions) in enumerate(windows):
        # Ours have other ids, in the same order.
        expected = golden[f'win{number}_regions'].flatten()
        found, expected = (np.unique(ids, return_inverse=True)[1] for ids in (regions, expected))
        np.testing.assert_array_equal(found, expected)
        expected = golden[f'win{number}_features']
        step = 4 if len(expected) > len(features) / 12 + 1 else 12
        assert_features_agree(features[::step], expected, 3)
    assert f'win{number + 1}_features' not in golden
    if 'win0_branches' in golden:
        assert_features_agree(watch.dino[0][0, ::36], golden['win0_dino'])
        for found, expected in zip(watch.branches, golden['win0_branches']):
            assert_features_agree(found[0, ::36], expected, 3)

    assert_labels_agree(watch.before, golden[f'{benchmark}_pred_before'])
    expected = golden[f'{benchmark}_prob'], golden[f'{benchmark}_pred']
    labels = result.pred_sem_seg.data[0]
    assert_results_agree(result.seg_logits.data, labels, *expected, 'CorrCLIP')
