"""SAM 3 with SegEarth-OV3's rule against its authors' program, through the shipped configs."""

import json
import sys

import numpy as np
import pytest
import torch
from exactness import BESIDE_THE_CPU, assert_labels_agree
from exactness import TOLERANCES as SCORES
from helpers import build_model, load_config, load_images
from paths import SHARED

from sclip_mmseg.models.trained import sam3

pytest.importorskip('transformers')
pytestmark = pytest.mark.golden

FOLDER = SHARED / 'later/sam3'
QUICK = 'potsdam'  # six prompts; the others have up to 81
TOLERANCES = dict(
    pixel=1e-6,
    text=1e-5,
    vision=2.5e-5,
    geometry=2.5e-5,
    boxes=3e-5,
    scores=SCORES['SAM 3'].scores,
    prob=SCORES['SAM 3'].scores,
    semantic=1e-4,
    presence=1.5e-4,
    best_mask=4e-4,
)
CASES = []
if FOLDER.is_dir():
    for case in json.loads((FOLDER / 'cases.json').read_text()):
        for benchmark in case['benchmarks']:
            marks = () if benchmark == QUICK else pytest.mark.slow
            parameters = case['file'], benchmark, case
            CASES.append(pytest.param(*parameters, id='-'.join(parameters[:2]), marks=marks))


@pytest.fixture(scope='module')
def checkpoint(shared, tmp_path_factory):
    """Case → the path of its weights, in the layout of `sam3.pt`."""
    sys.path.insert(0, str(FOLDER))
    from tiny_sam3 import tiny_sam3_state_dict

    folder, made = tmp_path_factory.mktemp('sam3'), {}

    def make(case):
        key = case['seed'], *case['weights'].values()
        if key not in made:
            made[key] = folder / f'{len(made)}.pt'
            torch.save(tiny_sam3_state_dict(case['seed'], **case['weights']), made[key])
        return str(made[key])

    return make


def _load(case, benchmark, checkpoint, **options):
    cfg = load_config(f'sam3_{benchmark.removesuffix("_40")}', **options)
    cfg.model.image_encoder.checkpoint = checkpoint(case)
    return cfg


def _by_class(entry):
    classes = [[] for _ in range(entry['classes'])]
    for query, number in zip(entry['queries'], entry['query_class']):
        classes[number].append(query)
    return classes


def _check(found, expected, name):
    factor = 1 if found.device.type == 'cpu' else BESIDE_THE_CPU
    difference = np.abs(found.float().cpu().numpy() - expected).max()
    assert difference <= factor * TOLERANCES[name], f'{name}: {difference}'


@pytest.mark.parametrize(
    'file, benchmark, case',
    CASES or [pytest.param('', '', {}, marks=pytest.mark.skip('../shared is not there'))],
)
def test_case(shared, checkpoint, monkeypatch, file, benchmark, case, device):
    entry, golden = case['benchmarks'][benchmark], np.load(FOLDER / file)
    cfg = _load(case, benchmark, checkpoint)
    if 'lines' in entry:  # the first of a class file
        cfg.model.text_head.queries = _by_class(entry)
    model = build_model(cfg, device)
    encoder, head = model.image_encoder, model.text_head
    assert head.query_set.by_class == _by_class(entry)
    last = head.valid.sum(1) - 1
    assert (last + 1).tolist() == entry['tokens']
    _check(head.embeddings[torch.arange(len(last)), last], golden[f'{benchmark}_text'], 'text')

    inputs, seen, asked = [], [], []
    to_input, encode, decode = sam3.to_input, encoder.encode_vision, encoder.decode_prompts
    monkeypatch.setattr(sam3, 'to_input', lambda image: _noted(inputs, to_input(image)))
    monkeypatch.setattr(encoder, 'encode_vision', lambda image: _noted(seen, encode(image)))
    monkeypatch.setattr(encoder, 'decode_prompts', lambda *args: _noted(asked, decode(*args)))
    [result] = model.test_step(load_images(cfg, [shared / 'data' / case['image']]))

    step = -(-len(last) // encoder.prompt_batch())
    assert len(inputs) == len(seen) == len(entry['views']) and len(asked) == step * len(seen)
    for number, (pixels, (vision, geometry)) in enumerate(zip(inputs, seen)):
        outputs = asked[number * step : (number + 1) * step]
        presence = torch.cat([output.presence_logits for output in outputs])
        semantic = torch.cat([output.semantic_seg for output in outputs])
        scores = torch.cat([encoder.rule.instance_scores(output) for output in outputs])
        best = golden[f'{benchmark}_scores'][number].argmax(1)
        queries = torch.arange(len(best)), torch.from_numpy(best)
        masks = torch.cat([o.pred_masks[:, :, 8::16, 8::16] for o in outputs])[queries]
        boxes = torch.cat([o.pred_boxes for o in outputs])[queries]
        kept = (scores > entry['confidence_threshold']).sum(1)
        assert kept.tolist() == entry['kept'][number]
        for name, found in dict(
            pixel=pixels[0, :, 8::32, 8::32],
            vision=vision.fpn_hidden_states[-2][0, :, 4::8, 4::8],
            geometry=geometry[0, 0],
            scores=scores,
            presence=presence[:, 0],
            semantic=semantic[:, 0, 8::16, 8::16],
            best_mask=masks,
            boxes=boxes,
        ).items():
            _check(found, golden[f'{benchmark}_{name}'][number], name)
    _check(result.seg_logits.data[:, ::16, ::16], golden[f'{benchmark}_prob'], 'prob')
    assert_labels_agree(result.pred_sem_seg.data[0], golden[f'{benchmark}_pred'], 'SAM 3')


def _noted(notes, value):
    notes.append(value)
    return value


def _voc20():
    if not CASES:
        pytest.skip('../shared is not there')
    return CASES[0].values


@pytest.mark.parametrize('prompts', [['bottle'], ['bottle', 'horse']])
def test_prompts_do_not_see_each_other(shared, checkpoint, prompts, device):
    file, benchmark, case = _voc20()
    names = case['benchmarks'][benchmark]['queries']
    classes = case['benchmarks'][benchmark]['query_class']
    cfg = _load(case, benchmark, checkpoint, **{'model.text_head.queries': prompts})
    model = build_model(cfg, device)
    [result] = model.test_step(load_images(cfg, [shared / 'data' / case['image']]))
    rows = [classes[names.index(prompt)] for prompt in prompts]
    expected = np.load(FOLDER / file)[f'{benchmark}_prob'][rows]
    _check(result.seg_logits.data[:, ::16, ::16], expected, 'prob')


@pytest.mark.slow
def test_bfloat16(shared, checkpoint, device):
    file, benchmark, case = _voc20()
    options = {'model.text_head.queries': ['bottle'], 'model.image_encoder.precision': 'bf16'}
    cfg = _load(case, benchmark, checkpoint, **options)
    model = build_model(cfg, device)
    assert {parameter.dtype for parameter in model.image_encoder.matrices()} == {torch.bfloat16}
    assert all(buffer.dtype != torch.bfloat16 for buffer in model.buffers())
    [result] = model.test_step(load_images(cfg, [shared / 'data' / case['image']]))
    expected = np.load(FOLDER / file)[f'{benchmark}_prob'][4]
    found = result.seg_logits.data[0, ::16, ::16].cpu().numpy()
    assert np.abs(found - expected).mean() < 0.03


@pytest.mark.slow
def test_batches_of_unequal_images(shared, checkpoint, device):
    file, benchmark, case = _voc20()
    cfg = _load(case, benchmark, checkpoint, **{'model.text_head.queries': ['bottle', 'horse']})
    folder = shared / 'data/VOCdevkit/VOC2012/JPEGImages'
    data = load_images(cfg, [folder / f'{name}.jpg' for name in ('2007_000129', '2007_004189')])
    assert len({tuple(image.shape) for image in data['inputs']}) > 1
    result = build_model(cfg, device).test_step(data)[1]
    expected = np.load(FOLDER / file)[f'{benchmark}_prob'][[4, 12]]
    _check(result.seg_logits.data[:, ::16, ::16], expected, 'prob')
