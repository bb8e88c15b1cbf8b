"""Number for number against the authors' programs, through the shipped configs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from exactness import assert_results_agree, assert_texts_agree
from golden.seeded_clip import seeded_clip
from helpers import ROOT, build_model, load_config, load_images
from paths import SHARED

pytestmark = pytest.mark.golden

#: Outputs that this repository holds, tests/golden/README.md.
PUBLIC = Path(__file__).parent / 'golden'


def _cases(folder, marks_of_others=()):
    """Cases of a folder; all but the first of each file get the marks."""
    path = folder / 'cases.json'
    cases = json.loads(path.read_text()) if path.is_file() else []
    return [
        pytest.param(
            case,
            benchmark,
            id=f'{case["file"]}-{benchmark}',
            marks=marks_of_others if number else (),
        )
        for case in cases
        for number, benchmark in enumerate(case['benchmarks'])
    ] or [pytest.param({}, '', marks=pytest.mark.skip('../shared is not beside this clone'))]


def _config_name(case, benchmark):
    method = 'sclip-pamr10' if case['pamr_steps'] else case['method']
    if method == 'clip':  # this case is of ResCLIP's program
        method = 'clip-resclip-protocol'
    benchmark = benchmark.removesuffix('_flat').replace('city_scapes', 'cityscapes')
    return f'{method}_vit-b16_{benchmark}'


def _compare(result, golden, benchmark, method='sclip', stride=16):
    scores = result.seg_logits.data
    if method != 'sclip':  # ResCLIP's program makes scores sum to 1 after its decision
        scores = scores / scores.sum(0)
    expected = golden[f'{benchmark}_prob'], golden[f'{benchmark}_pred']
    system = 'ResCLIP' if method.startswith('resclip') else ''
    assert_results_agree(scores, result.pred_sem_seg.data[0], *expected, system, stride)


@pytest.mark.public
@pytest.mark.parametrize('case, benchmark', _cases(PUBLIC, pytest.mark.slow))
def test_public_case(tmp_path, case, benchmark, device):
    settings = case['benchmarks'][benchmark]
    torch.save(seeded_clip(settings['weights'], settings['common']), tmp_path / 'clip.pt')
    cfg = load_config(_config_name(case, benchmark), str(tmp_path / 'clip.pt'))
    data = load_images(cfg, [ROOT / case['image']])
    [result] = build_model(cfg, device).test_step(data)
    golden = np.load(PUBLIC / case['file'])
    _compare(result, golden, benchmark, case['method'], case['prob_stride'])


@pytest.mark.parametrize('case, benchmark', _cases(SHARED / 'golden'))
def test_case(shared, golden_clip, case, benchmark, device):
    golden = np.load(shared / 'golden' / case['file'])
    cfg = load_config(_config_name(case, benchmark), golden_clip)
    model = build_model(cfg, device)
    assert_texts_agree(model, golden[f'{benchmark}_text'])
    [result] = model.test_step(load_images(cfg, [shared / 'data' / case['image']]))
    _compare(result, golden, benchmark, case['method'])


@pytest.mark.parametrize('batch_size', [2, 3])
@pytest.mark.parametrize('window_batch', [1, 1000])
@pytest.mark.parametrize('config', ['sclip_vit-b16_voc21', 'sclip-pamr10_vit-b16_context60'])
def test_batches_of_unequal_images(shared, golden_clip, config, batch_size, window_batch, device):
    pamr = '-pamr10' if 'pamr' in config else ''
    golden = np.load(shared / f'golden/sclip{pamr}_2007_004189.npz')
    cfg = load_config(config, golden_clip, **{'model.test_cfg.window_batch': window_batch})
    names = ['2007_004189', '2007_000129', '2008_008246'][:batch_size]
    paths = [shared / f'data/VOCdevkit/VOC2012/JPEGImages/{name}.jpg' for name in names]
    data = load_images(cfg, paths)
    assert len({tuple(image.shape) for image in data['inputs']}) > 1
    result = build_model(cfg, device).test_step(data)[0]
    _compare(result, golden, config.rpartition('_')[2])
