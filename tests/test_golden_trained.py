"""GroupViT and TCL against their authors' programs, through the shipped configs."""

import json
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exactness import assert_close, assert_results_agree, assert_texts_agree
from helpers import build_model, load_config, load_images
from paths import SHARED

from sclip_mmseg.models import View

pytestmark = pytest.mark.golden

CASES = []
if SHARED.is_dir():
    for case in json.loads((SHARED / 'trained/golden/cases.json').read_text()):
        for benchmark in case['benchmarks']:
            CASES.append((case['file'], benchmark, case))


@pytest.fixture(scope='module')
def files(shared, tmp_path_factory):
    """Case → the keys of its config that name checkpoints, which are made when asked for."""
    sys.path.insert(0, str(shared / 'trained'))
    from tiny_groupvit import tiny_groupvit_state_dict
    from tiny_tcl import tiny_clip_fp16, tiny_tcl_state_dict

    folder, made = tmp_path_factory.mktemp('trained'), {}

    def save(name, content):
        torch.save(content, folder / name)
        return str(folder / name)

    def make(case):
        key = case['file']
        if key not in made and case['system'] == 'GroupViT':
            tensors = tiny_groupvit_state_dict(case['seed'], full=case['full'], **case['generator'])
            path = save(f'{key}.pth', dict(model=tensors))
            made[key] = {'model.image_encoder.checkpoint': path}
        elif key not in made:
            tensors = tiny_tcl_state_dict(case['seed'], **case['generator'])
            made[key] = {
                'model.image_encoder.checkpoint': save(f'{key}.pth', dict(model=tensors)),
                'model.image_encoder.clip': save(f'{key}.pt', tiny_clip_fp16(case['seed'])),
            }
        return made[key]

    return make


def _config_name(system, benchmark):
    name = benchmark.removesuffix('_own').removesuffix('_pamr')
    name = name.replace('coco_stuff', 'coco_stuff164k')
    if system == 'TCL':
        return f'tcl{"-pamr" if benchmark.endswith("_pamr") else ""}_vit-b16_{name}'
    return f'groupvit{"" if benchmark.endswith("_own") else "-unified"}_vit-s16_{name}'


def _compare(result, golden, benchmark, system):
    expected = golden[f'{benchmark}_score'], golden[f'{benchmark}_pred']
    labels = result.pred_sem_seg.data[0]
    assert_results_agree(result.seg_logits.data, labels, *expected, system)


@pytest.mark.parametrize(
    'file, benchmark, case',
    [pytest.param(*parameters, id='-'.join(parameters[:2])) for parameters in CASES]
    or [pytest.param('', '', {}, marks=pytest.mark.skip('../shared is not beside this clone'))],
)
def test_case(shared, files, file, benchmark, case, device):
    golden = np.load(shared / 'trained/golden' / file)
    cfg = load_config(_config_name(case['system'], benchmark), **files(case))
    model = build_model(cfg, device)
    classes = tuple(case['benchmarks'][benchmark]['classes'])
    assert classes[classes[0] == 'background' :] == model.text_head.query_set.queries
    assert_texts_agree(model, golden[f'{benchmark}_text'])
    [result] = model.test_step(load_images(cfg, [shared / 'data' / case['image']]))
    _compare(result, golden, benchmark, case['system'])


def _case(file):
    return next(case for name, _, case in CASES if name == file)


def _first_window(cfg, model, shared, image):
    inputs = load_images(cfg, [shared / 'data' / image])
    return model.data_preprocessor(inputs)['inputs'][:, :, :448, :448]


@pytest.mark.parametrize('file', ['groupvit_2007_004189.npz', 'groupvit-full_2007_000129.npz'])
def test_groups_of_a_window(shared, files, file, device):
    case, golden = _case(file), np.load(shared / 'trained/golden' / file)
    cfg = load_config('groupvit-unified_vit-s16_voc21', **files(case))
    model = build_model(cfg, device)
    encoder = model.image_encoder
    window = _first_window(cfg, model, shared, case['image'])
    with torch.no_grad():
        segments, membership = encoder.network(window)
        groups = F.normalize(encoder.projector(segments), dim=-1)[0]
        mean = F.normalize(encoder.projector(segments.mean(1)), dim=-1)[0]
    assert_close(groups, golden['window0_groups'], 1e-5)
    assert_close(mean, golden['window0_mean'], 1e-5)
    membership = membership[0].flatten(1).T.cpu().numpy()
    assert np.isclose(membership, golden['window0_assign'], rtol=0, atol=1e-5).mean() >= 0.999


def test_features_of_a_window(shared, files, device):
    case = _case('tcl_2007_004189.npz')
    golden = np.load(shared / 'trained/golden' / case['file'])
    cfg = load_config('tcl_vit-b16_voc21', **files(case))
    model = build_model(cfg, device)
    window = _first_window(cfg, model, shared, case['image'])
    features = model.extract_feat(window)[0, ::8, ::8].permute(2, 0, 1)
    assert_close(features, golden['window0_grounded'], 1e-5)


def test_a_window_whose_sides_are_not_multiples_of_16(shared, files, device):
    case = _case('tcl_2007_004189.npz')
    golden = np.load(shared / 'trained/golden' / case['file'])
    cfg = load_config('tcl_vit-b16_voc21', **files(case))
    model = build_model(cfg, device)
    window = _first_window(cfg, model, shared, case['image'])[:, :, :100, :150]
    with torch.no_grad():
        masks = model.image_encoder(View(window), model.text_head)[0, :, ::10, ::10]
    assert_close(masks, golden['padded100x150_voc21'], 2e-5)


@pytest.mark.parametrize(
    'file, benchmark',
    [('groupvit_2007_004189.npz', 'voc21_own'), ('tcl_2007_004189.npz', 'voc21_pamr')],
)
def test_batches_of_unequal_images(shared, files, file, benchmark, device):
    case, golden = _case(file), np.load(shared / 'trained/golden' / file)
    cfg = load_config(_config_name(case['system'], benchmark), **files(case))
    cfg.model.test_cfg.window_batch = 1000
    names = ['2007_000129', '2007_004189', '2008_008246']
    paths = [shared / f'data/VOCdevkit/VOC2012/JPEGImages/{name}.jpg' for name in names]
    data = load_images(cfg, paths)
    assert len({tuple(image.shape) for image in data['inputs']}) > 1
    result = build_model(cfg, device).test_step(data)[1]
    _compare(result, golden, benchmark, case['system'])
