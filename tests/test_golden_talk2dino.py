"""Talk2DINO against its authors' program, through the shipped configs."""

import json
import sys

import cv2
import numpy as np
import pytest
import torch
from exactness import TOLERANCES, assert_close, assert_labels_agree
from helpers import build_model, load_config, load_images
from paths import SHARED

from sclip_mmseg.datasets import QuerySet
from sclip_mmseg.models import View
from sclip_mmseg.models.text_embeddings import encode_prompts, save_embeddings
from sclip_mmseg.models.texts import read_texts
from sclip_mmseg.models.trained.talk2dino import clean_background
from sclip_mmseg.towers import load_text_tower

pytestmark = pytest.mark.golden

FOLDER = SHARED / 'later/talk2dino'
#: Case → its settings beside those of the config of its benchmark.
SETTINGS = {
    'demo': ('voc20', {'model.test_cfg.mode': 'whole'}),
    'demo_bg': ('voc21', {'model.test_cfg.mode': 'whole'}),
    'thin': ('cityscapes', {}),
    'voc21_noclean': ('voc21', {'model.image_encoder.clean_background': False}),
    'voc21_clean': ('voc21', {}),
    'ade20k_40': ('ade20k', {}),
}
QUICK = {('small', 'voc21'), ('small', 'thin'), ('dinov3', 'voc21_clean')}
SCORES = TOLERANCES['Talk2DINO'].scores


def _cases():
    if not FOLDER.is_dir():
        mark = pytest.mark.skip('../shared is not beside this clone')
        return [pytest.param({}, '', marks=mark)]
    return [
        pytest.param(
            case,
            name,
            id=f'{case["file"].split(".")[0]}-{name}',
            marks=() if (case['weights'], name) in QUICK else pytest.mark.slow,
        )
        for case in json.loads((FOLDER / 'cases.json').read_text())
        for name in case['benchmarks']
    ]


@pytest.fixture(scope='module')
def folder(shared, tmp_path_factory):
    sys.path.insert(0, str(FOLDER))
    return tmp_path_factory.mktemp('talk2dino')


@pytest.fixture(scope='module')
def weights(folder):
    """Kind of weights and seed → the keys of a config that name them, made when asked for."""
    from tiny_talk2dino import talk2dino_state_dicts

    made = {}

    def make(kind, seed=0):
        if (kind, seed) not in made:
            paths = {}
            for part, tensors in talk2dino_state_dicts(seed, kind).items():
                paths[part] = str(folder / f'{kind}-{seed}-{part}.pt')
                torch.save(tensors, paths[part])
            made[kind, seed] = {
                'model.image_encoder.tower.checkpoint': paths['dino'],
                'model.image_encoder.head': paths['head'] if kind == 'small' else None,
                'model.text_head.clip': paths['clip'],
            }
        return made[kind, seed]

    return make


def _names(case, name):
    """Names of the classes without the background."""
    classes = case['benchmarks'][name]['classes']
    if isinstance(classes, str):
        classes = case['benchmarks'][classes.removeprefix('as ')]['classes']
    return classes[classes[0] == 'background' :]


def _stored(golden, name, what):
    """An array of a case, or of the one that it shares it with."""
    known = [name, name.rpartition('_')[0], 'cityscapes']
    return golden[next(f'{each}_{what}' for each in known if f'{each}_{what}' in golden)]


def _config(case, name, weights, golden, folder):
    benchmark, options = SETTINGS.get(name, (name.removesuffix('_pamr'), {}))
    benchmark = benchmark.replace('coco_stuff', 'coco_stuff164k')
    pamr = '-pamr' * case['benchmarks'][name].get('pamr', False)
    options = {**weights(case['weights'], case['seed']), **options}
    names = _names(case, name)
    if case['weights'] != 'small':  # whose heads are the authors'
        path = folder / f'{case["file"]}-{name}.npz'
        query_set = QuerySet.from_ids(names, range(len(names)), name)
        save_embeddings(path, query_set, torch.from_numpy(_stored(golden, name, 'text')))
        options['model.text_head.embeddings'] = str(path)
    elif name in ('demo', 'demo_bg', 'ade20k_40'):
        options['model.text_head.queries'] = names
    cfg = load_config(f'talk2dino{pamr}_vit-b14_{benchmark}', **options)
    if name.startswith('demo'):
        cfg.model.data_preprocessor.bgr_to_rgb = False  # as there
        cfg.test_pipeline = [step for step in cfg.test_pipeline if step.type != 'Resize']
    return cfg


def _images(case, name, cfg, shared, folder):
    path = shared / 'data' / case['image']
    if rows := case['benchmarks'][name].get('crop_rows'):
        image = cv2.imread(str(path))[slice(*rows)]
        path = folder / f'{name}.png'
        cv2.imwrite(str(path), image)
    return load_images(cfg, [path])


def _compare(result, golden, name, case):
    stride = case['benchmarks'][name].get('score_every', 16)
    labels, scores = result.pred_sem_seg.data[0], result.seg_logits.data
    assert_close(scores[:, ::stride, ::stride], golden[f'{name}_score'], SCORES)
    assert_labels_agree(labels, golden[f'{name}_pred'])


@pytest.mark.parametrize('case, name', _cases())
def test_case(shared, weights, folder, case, name, device):
    golden = np.load(FOLDER / case['file'])
    cfg = _config(case, name, weights, golden, folder)
    model = build_model(cfg, device)
    assert model.text_head.query_set.queries == tuple(_names(case, name))
    assert_close(model.text_head.embeddings, _stored(golden, name, 'text'), 1e-5)
    data = _images(case, name, cfg, shared, folder)
    [result] = model.test_step(data)
    _compare(result, golden, name, case)


def _case(kind, name):
    [found] = [
        each.values[0]
        for each in _cases()
        if each.values[1] == name and each.values[0]['weights'] == kind
    ]
    return found, np.load(FOLDER / found['file'])


@pytest.fixture(params=[('small', 'voc21'), ('dinov3', 'voc21_clean')])
def cleaned(request, shared, weights, folder, device):
    """A case with background cleaning: its name, arrays, model and first window."""
    if not FOLDER.is_dir():
        pytest.skip('../shared is not beside this clone')
    kind, name = request.param
    case, golden = _case(kind, name)
    cfg = _config(case, name, weights, golden, folder)
    model = build_model(cfg, device)
    inputs = _images(case, name, cfg, shared, folder)
    return name, golden, model, model.data_preprocessor(inputs)['inputs'][..., :448, :448]


@torch.no_grad()
def test_steps_of_a_window(cleaned):
    name, golden, model, window = cleaned
    encoder = model.image_encoder
    tokens = encoder._run(window, ['normalised', 'output'])
    features, attention = encoder._read_out(tokens), encoder._class_attention(tokens)
    found = features.flatten(1, 2)[0, :: 8 if encoder.embed_dim == 128 else 32]
    for part, stored in ((found, 'features'), (attention[0].flatten(1), 'attention')):
        expected = golden[f'win0_{stored}']
        assert_close(part, expected, 1e-5 * np.abs(expected).max())
    cosines = model.text_head(features)[0]
    assert_close(cosines[:, ::4, ::4], golden[f'{name}_win0_cos'], 1e-5)
    masks = encoder(View(window), model.text_head)[0]
    assert_close(masks[:, ::4, ::4], golden[f'{name}_win0_cleaned'], SCORES)


@torch.no_grad()
def test_cleaning_sees_all_classes(cleaned):
    """The extremes are of all queries of a window, and of no other window."""
    _, _, model, window = cleaned
    both = torch.cat([window, window.flip(-1)])
    encoder, head = model.image_encoder, model.text_head
    alone, joined = (encoder(View(images), head) for images in (window, both))
    torch.testing.assert_close(joined[:1], alone, rtol=0, atol=1e-6)
    masks, fits = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 2)
    masks[:, 2] += 1  # holds the largest mask
    attention = torch.rand(1, 2, 4, 4)
    found = clean_background(masks, fits, attention)
    assert not torch.allclose(found[:, :2], clean_background(masks[:, :2], fits[:, :2], attention))


def test_texts_before_the_head(shared, weights, folder):
    case, golden = _case('wide', 'voc21')
    paths = weights('wide')
    head = load_config('talk2dino_vit-b14_voc21', **paths).model.text_head
    texts = read_texts(**{**head, 'queries': _names(case, 'voc21')})
    tower = load_text_tower(paths['model.text_head.clip'])
    prompts = [each.replace('{}', q) for q in texts.query_set.queries for each in texts.templates]
    means = encode_prompts(tower, prompts).unflatten(0, (-1, len(texts.templates))).mean(1)
    assert_close(means, golden['voc21_text_clip'], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['voc21', 'voc21_pamr'])
def test_batches_of_unequal_images(shared, weights, folder, name, device):
    case, golden = _case('small', name)
    cfg = _config(case, name, weights, golden, folder)
    cfg.model.test_cfg.window_batch = 1000
    names = ['2007_000129', '2007_004189', '2008_008246']
    paths = [shared / f'data/VOCdevkit/VOC2012/JPEGImages/{name}.jpg' for name in names]
    data = load_images(cfg, paths)
    assert len({tuple(image.shape) for image in data['inputs']}) > 1
    result = build_model(cfg, device).test_step(data)[1]
    _compare(result, golden, name, case)


@pytest.mark.parametrize('precision', ['bf16', pytest.param('fp16', marks=pytest.mark.slow)])
def test_lower_precisions(shared, weights, folder, precision, device):
    """Only the tower runs in lower precision, so that differences of 1e-4 still decide."""
    case, golden = _case('small', 'voc21')
    cfg = _config(case, 'voc21', weights, golden, folder)
    cfg.model.image_encoder.precision = precision
    [result] = build_model(cfg, device).test_step(_images(case, 'voc21', cfg, shared, folder))
    scores = result.seg_logits.data
    assert scores.dtype == torch.float32
    assert_close(
        scores[:, ::16, ::16], golden['voc21_score'], 5e-3 if precision == 'bf16' else 1e-3
    )
    assert (result.pred_sem_seg.data[0].cpu().numpy() == golden['voc21_pred']).mean() > 0.97
