"""CorrCLIP v2 compared with the authors' program, through the shipped configs."""

import json
import sys

import numpy as np
import pytest
import torch
from exactness import (
    TEXTS,
    assert_close,
    assert_features_agree,
    assert_labels_agree,
    assert_results_agree,
    assert_texts_agree,
)
from helpers import build_model, each_case, load_config, load_images
from paths import SHARED

from sclip_mmseg.models import memory
from sclip_mmseg.models.fusion import cut_windows
from sclip_mmseg.models.windowed_image import WindowedImage

pytestmark = pytest.mark.golden

FOLDER = SHARED / 'later/corrclip2'
NAMES = {'ade': 'ade20k', 'city': 'cityscapes', 'coco_stuff': 'coco_stuff164k'}
CASES = {'': {}}
# The default run has a case of each kind of index, and the padded one.
QUICK = {
    *('', 'dinov2-ivfpq-pad_2007_004189-voc21', 'dinov2-few-aux_2007_004189-voc21'),
    'dinov3-flat-aux_2007_004189-voc21',
}
if FOLDER.is_dir():
    CASES = {
        f'{case["file"][10:-4]}-{benchmark}': {**settings, **case, 'benchmark': benchmark}
        for case in json.loads((FOLDER / 'cases.json').read_text())['cases']
        for benchmark, settings in case['benchmarks'].items()
    }


@pytest.fixture(scope='session')
def corr2_weights(shared, tmp_path_factory):
    """Path of a seeded checkpoint by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'path', [str(FOLDER), *sys.path])
        import tiny_corr2

        states = {name: tiny_corr2.vfm_state_dict(name, 0) for name in _vfms()}
        main = tiny_corr2.main_clip_state_dict(0)
        states['main'] = {'state_dict': {f'module.{name}': each for name, each in main.items()}}
        states['aux'] = tiny_corr2.aux_clip_state_dict(0)
        states['dino'] = tiny_corr2.bank_dino_state_dict(0)
    folder = tmp_path_factory.mktemp('corrclip2')
    for name, state in states.items():
        torch.save(state, folder / f'{name}.pth')
    return {name: str(folder / f'{name}.pth') for name in states}


def _vfms():
    return {case['vfm'] for case in CASES.values() if case}


def _config(weights, case):
    name = NAMES.get(case['benchmark'], case['benchmark'])
    cfg = load_config(f'corrclip2_vit-b16_{name}', weights['main'])
    cfg.model.image_encoder.proxy.checkpoint = weights[case['vfm']]
    cfg.model.region_masks = str(FOLDER / 'masks/{stem}.npz')
    cfg.test_pipeline[1].scale = (2048, case['short_side'])
    if case['mode'] == 'none':
        cfg.model.memory = None
        return cfg
    names = dict(ivfpq='mini_{}', flat='flat_{}', few='few_{}')
    index = FOLDER / f'bank/{names[case["index"]].format(case["vfm"])}.faiss'
    cfg.model.memory.update(
        bank=str(FOLDER / 'bank'),
        name='mini',
        index=str(index) if index.is_file() else None,  # that of DINOv3 is over all rows
        clip=weights['aux'] if case['mode'] == 'aux' else None,
    )
    return cfg


def _golden(case):
    """The case's arrays, some of which lie in others' files."""
    golden = dict(np.load(FOLDER / case['file']))
    for name, file in case.get('elsewhere', {}).items():
        golden[name] = np.load(FOLDER / file)[name]
    return golden


def _check_windows(model, data, case, golden):
    inputs = model.data_preprocessor(data)
    [image] = model._read_inputs(inputs['inputs'], inputs['data_samples'])
    windowed = WindowedImage(
        cut_windows(image.view(), model.windows), image.size, model.window_batch, image.file
    )
    encoder, cells = model.image_encoder, golden['vfm_features']
    coarse = image.file.map_of(encoder.proxy).permute(2, 0, 1)
    assert list(coarse.shape) == case['vfm_grid']
    step = 4 if -(-case['vfm_grid'][1] // 4) == cells.shape[1] else 8
    found = coarse[:, ::step, ::step]
    assert_close(found, cells, 1e-5 * np.abs(cells).max())
    values = encoder.method(encoder.tower, windowed, model.text_head, proxy=encoder.proxy).values
    for number, features in enumerate(values.flatten(1, 2)):
        name = f's{case["short_side"]}_win{number}_features'
        if name in golden:
            expected, close = golden[name], case['windows'][number]['pairs_within_1e_6_of_mean']
            step = -(-len(features) // len(expected))
            assert_features_agree(features[::step], expected, 2 * close)


def _watch(monkeypatch):
    """Record what is searched in the bank, the rows and the scores that are found."""
    seen = []
    find = memory.find_neighbours

    def watched(bank, queries, *args):
        seen.extend([queries, bank.index.search(queries, args[1])])
        seen.extend(
            find(type(bank)([values], bank.index), queries, [texts], args[1])
            for values, texts in zip(bank.values, args[0])
        )
        return find(bank, queries, *args)

    monkeypatch.setattr(memory, 'find_neighbours', watched)
    return seen


def _check_neighbours(seen, case, golden):
    queries, rows, *support = seen
    prefix = f's{case["short_side"]}_'
    assert_close(queries, golden[prefix + 'queries'], 1e-5)
    expected, distances = golden[prefix + 'ids'], golden[prefix + 'distances']
    apart = np.abs(np.diff(distances, axis=1, prepend=np.inf, append=np.inf)) > 1e-5
    sure = apart[:, 1:] & apart[:, :-1] | (expected < 0)
    np.testing.assert_array_equal(rows.cpu().numpy()[sure], expected[sure])
    for name, found in zip(('support', 'support_aux'), support):
        assert_close(found, golden[f'{case["benchmark"]}_{name}'], 1e-5)


@torch.no_grad()
@each_case(CASES, QUICK)
def test_case(shared, corr2_weights, case, device, monkeypatch):
    golden, benchmark = _golden(case), case['benchmark']
    cfg = _config(corr2_weights, case)
    model = build_model(cfg, device)
    assert_texts_agree(model, golden[f'{benchmark}_text'])
    data = load_images(cfg, [shared / 'data' / case['image']])
    _check_windows(model, data, case, golden)
    seen = _watch(monkeypatch)
    if case['mode'] == 'aux':
        assert_close(model.memory.second, golden[f'{benchmark}_aux_text'], TEXTS)
    before = []
    model.postprocess.register_forward_pre_hook(lambda module, args: before.append(args[0]))
    [result] = model.test_step(data)
    if case['mode'] != 'none':
        _check_neighbours(seen, case, golden)
    assert_labels_agree(before[0], golden[f'{benchmark}_pred_before'])
    expected = golden[f'{benchmark}_prob'], golden[f'{benchmark}_pred']
    labels = result.pred_sem_seg.data[0]
    assert_results_agree(result.seg_logits.data, labels, *expected, 'CorrCLIPv2')
