"""Trident compared with the authors' program, through the shipped configs."""

import json
import sys

import numpy as np
import pytest
import torch
from exactness import TOLERANCES, assert_labels_agree
from helpers import build_model, each_case, load_config, load_images
from paths import SHARED

from sclip_mmseg.models.sam_refinement import SAMRefinement

pytest.importorskip('transformers')
pytestmark = pytest.mark.golden

FOLDER = SHARED / 'later/trident'
CASES = {'': {}}
QUICK = {'', '2007_004189-voc21'}
if FOLDER.is_dir():
    CASES = {
        f'{case["file"][8:-4]}-{benchmark}': dict(case, benchmark=benchmark)
        for case in json.loads((FOLDER / 'cases.json').read_text())
        for benchmark in case['benchmarks']
    }


@pytest.fixture(scope='session')
def weights(shared, tmp_path_factory):
    """Writes the seeded weights of a case, and returns the paths of CLIP, DINO and SAM."""
    sys.path[:0] = [str(FOLDER.parent), str(FOLDER)]
    from tiny_dino import tiny_dino_state_dict
    from tiny_later import later_clip_state_dict
    from tiny_sam import tiny_sam_state_dict

    folder = tmp_path_factory.mktemp('trident')
    torch.save(tiny_dino_state_dict(0, patch_size=16), folder / 'dino.pt')
    torch.save(tiny_sam_state_dict(0), folder / 'sam.pt')

    def write(clip):
        path = folder / f'{clip}.pt'
        if not path.exists():
            torch.save(later_clip_state_dict(0, clip, folder=str(FOLDER)), path)
        return str(path), str(folder / 'dino.pt'), str(folder / 'sam.pt')

    return write


@pytest.fixture
def prompted(monkeypatch):
    """Boxes, points and expected qualities of all regions of a run, in order."""
    found = []
    draw = SAMRefinement._draw

    def noted(self, sam, image, prompts, scores, size):
        masks = sam.masks

        def masks_noted(image, points, boxes, mask):
            logits, quality = masks(image, points, boxes, mask)
            found.extend(
                np.concatenate([b, p, [q], ps, bs])
                for b, p, q, ps, bs in zip(
                    *(x.cpu().numpy() for x in (*prompts, quality, points, boxes))
                )
            )
            return logits, quality

        monkeypatch.setattr(sam, 'masks', masks_noted)
        result = draw(self, sam, image, prompts, scores, size)
        monkeypatch.undo()
        monkeypatch.setattr(SAMRefinement, '_draw', noted)
        return result

    monkeypatch.setattr(SAMRefinement, '_draw', noted)
    return found


def _config(weights, case, name):
    clip, dino, sam = weights(case['clip'])
    cfg = load_config(f'{name}_vit-b16_{case["benchmark"]}', clip)
    cfg.model.image_encoder.proxy.checkpoint = dino
    cfg.model.image_encoder.sam.checkpoint = sam
    return cfg


@torch.no_grad()
@each_case(CASES, QUICK)
def test_case(shared, weights, prompted, case, device):
    golden, benchmark = np.load(FOLDER / case['file']), case['benchmark']
    cfg = _config(weights, case, 'trident')
    model = build_model(cfg, device)
    embeddings = model.text_head.embeddings.cpu().numpy()
    np.testing.assert_allclose(embeddings, golden[f'{benchmark}_text'], rtol=0, atol=1e-5)
    [result] = model.test_step(load_images(cfg, [shared / 'data' / case['image']]))
    scores = result.seg_logits.data
    difference = np.abs(scores.cpu().numpy()[:, ::16, ::16] - golden[f'{benchmark}_prob'])
    tolerance = TOLERANCES['Trident']
    assert difference.max() <= tolerance.largest
    assert (difference > tolerance.scores).mean() <= tolerance.excused
    labels = model.rule.decide(scores.clone())[1]
    assert_labels_agree(labels, golden[f'{benchmark}_pred'], 'Trident')
    refined = result.pred_sem_seg.data[0]
    assert_labels_agree(refined, golden[f'{benchmark}_refined_pred'], 'Trident')

    fragile = case['benchmarks'][benchmark]['refinement'].get('fragile_regions', [])
    expected = golden[f'{benchmark}_prompts']
    assert len(prompted) == len(expected)
    sure = [number for number in range(len(expected)) if number not in fragile]
    found, expected = np.array(prompted)[sure], expected[sure, 1:]
    np.testing.assert_array_equal(found[:, :6], expected[:, :6])
    np.testing.assert_allclose(found[:, 6], expected[:, 6], rtol=0, atol=1e-4)
    np.testing.assert_allclose(found[:, 7:], expected[:, 7:], rtol=1e-6)


@torch.no_grad()
def test_the_config_without_refinement(shared, weights, device):
    case = CASES['2007_004189-voc21']
    cfg = _config(weights, case, 'trident-coarse')
    [result] = build_model(cfg, device).test_step(
        load_images(cfg, [shared / 'data' / case['image']])
    )
    labels = result.pred_sem_seg.data[0].cpu().numpy()
    assert (labels == np.load(FOLDER / case['file'])['voc21_pred']).mean() >= 0.9999
