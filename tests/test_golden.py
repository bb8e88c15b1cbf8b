"""Number for number against the authors' programs, through the shipped configs."""

import json

import numpy as np
import pytest
from helpers import build_model, load_config, load_images
from paths import SHARED

pytestmark = pytest.mark.golden

CASES = []
if SHARED.is_dir():
    for case in json.loads((SHARED / 'golden/cases.json').read_text()):
        for benchmark in case['benchmarks']:
            CASES.append((case['file'], benchmark, case))


def _config_name(case, benchmark):
    method = 'sclip-pamr10' if case['pamr_steps'] else case['method']
    if method == 'clip':  # this case is of ResCLIP's program
        method = 'clip-resclip-protocol'
    return f'{method}_vit-b16_{benchmark.replace("city_scapes", "cityscapes")}'


def _compare(result, golden, benchmark, method='sclip'):
    scores = result.seg_logits.data.cpu()
    if method != 'sclip':  # ResCLIP's program makes scores sum to 1 after its decision
        scores = scores / scores.sum(0)
    atol, equal = (2e-3, 0.999) if method.startswith('resclip') else (1e-4, 0.9999)
    scores = scores.numpy()[:, ::16, ::16]
    np.testing.assert_allclose(scores, golden[f'{benchmark}_prob'], rtol=0, atol=atol)
    same = result.pred_sem_seg.data[0].cpu().numpy() == golden[f'{benchmark}_pred']
    assert same.mean() >= equal


@pytest.mark.parametrize(
    'file, benchmark, case',
    [pytest.param(*parameters, id='-'.join(parameters[:2])) for parameters in CASES]
    or [pytest.param('', '', {}, marks=pytest.mark.skip('../shared is not beside this clone'))],
)
def test_case(shared, golden_clip, file, benchmark, case, device):
    golden = np.load(shared / 'golden' / file)
    cfg = load_config(_config_name(case, benchmark), golden_clip)
    model = build_model(cfg, device)
    embeddings = model.text_head.embeddings.cpu().numpy()
    np.testing.assert_allclose(embeddings, golden[f'{benchmark}_text'], rtol=0, atol=1e-5)
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
