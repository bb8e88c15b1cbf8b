"""Oracles are counted in the same run, and saved as separate results."""

import numpy as np
import pytest
import torch
from helpers import load_config, make_voc
from PIL import Image

from sclip_mmseg import InputError
from sclip_mmseg.evaluation import KnownClassesOracle, RegionOracle, Result, evaluate
from sclip_mmseg.evaluation.oracles import best_classes

CONFIG = 'sclip_vit-b16_voc21'


def test_regions_get_their_best_class():
    label = np.array([[1, 1, 2, 255], [0, 2, 2, 255], [2, 0, 255, 255]])
    regions = np.array([[5, 5, 5, 5], [5, 7, 7, 7], [9, 9, 9, 4]])
    expected = [[1, 1, 1, 1], [1, 2, 2, 2], [0, 0, 0, 0]]
    np.testing.assert_array_equal(best_classes(label, regions, 3, 255), expected)


def _sample(prediction, label, scores=None):
    sample = dict(
        img_path='a.jpg',
        pred_sem_seg=dict(data=torch.tensor(prediction)[None]),
        gt_sem_seg=dict(data=torch.tensor(label)[None]),
    )
    return sample | ({} if scores is None else dict(seg_logits=dict(data=torch.tensor(scores))))


def test_known_classes_restrict_the_choice():
    """A prediction that may be correct is kept, even if a threshold made it."""
    scores = np.array([[[0.1, 0.2, 0.9]], [[0.3, 0.1, 0.0]], [[0.6, 0.7, 0.1]]])
    sample = _sample([[2, 0, 0]], [[0, 1, 255]], scores)
    assert KnownClassesOracle().predict(sample).tolist() == [[1, 0, 0]]
    nothing = _sample([[2, 0, 0]], [[255, 255, 255]], scores)
    assert KnownClassesOracle().predict(nothing).tolist() == [[2, 0, 0]]
    with pytest.raises(InputError, match=r'set model\.test_cfg\.seg_logits=True'):
        KnownClassesOracle().predict(_sample([[2]], [[0]]))


@pytest.fixture
def config(clip_path, tmp_path):
    root = make_voc(tmp_path / 'data', sizes=[(40, 60), (60, 40), (64, 64)])
    small = {'model.test_cfg.crop_size': 64, 'model.test_cfg.stride': 64}
    cfg = load_config(CONFIG, clip_path, **small)
    cfg.test_dataloader.dataset.data_root = str(root / 'VOCdevkit/VOC2012')
    cfg.test_dataloader.num_workers = 0
    cfg.work_dir = str(tmp_path / 'work')
    return cfg


def test_one_run_counts_all(config, tmp_path, monkeypatch):
    plain = evaluate(config, work_dir=tmp_path / 'plain')
    result = evaluate(config, boundary_iou=True, oracles=True)
    assert (result.confusion() == plain.confusion()).all() and plain.boundary is None
    assert 0 < result.mBIoU < 100
    work = tmp_path / 'work'
    known = Result.load(work / 'oracle_known-classes.npz')
    regions = Result.load(work / 'oracle_regions.npz')
    assert result.mIoU < known.mIoU < 100 and result.mIoU < regions.mIoU < 100
    assert known.images == regions.images == result.images and known.mBIoU != result.mBIoU
    for index in range(3):
        found = known.counts(index)
        assert set(found[1]) <= set(found[0]), 'a class that is not in the image was predicted'
    before = {path.name: path.read_bytes() for path in work.glob('*.npz')}
    monkeypatch.setattr(RegionOracle, 'predict', None)  # a finished run is read
    again = evaluate(config, boundary_iou=True, oracles=True, resume=True)
    np.testing.assert_array_equal(again.boundary, result.boundary)
    for name, other in (('oracle_known-classes', known), ('oracle_regions', regions)):
        assert (Result.load(work / f'{name}.npz').confusion() == other.confusion()).all()
    assert before.keys() == {path.name for path in work.glob('*.npz')}
    with pytest.raises(InputError, match='boundary_ratio was'):
        evaluate(config, resume=True, oracles=True)


def test_given_regions_are_taken(config, tmp_path):
    """Regions that equal the areas of the label have no cost of outlines."""
    voc = tmp_path / 'data/VOCdevkit/VOC2012'
    config.test_evaluator = [
        config.test_evaluator,
        dict(type='RegionOracle', prefix='r', regions=str(voc / 'SegmentationClass/{stem}.png')),
    ]
    evaluate(config)
    result = Result.load(tmp_path / 'work/oracle_regions.npz')
    labels = [np.array(Image.open(path)) for path in (voc / 'SegmentationClass').glob('*.png')]
    assert result.aAcc == 100 and result.pixels.sum() == sum(ids.size for ids in labels)


def test_metrics_that_count_nothing_are_refused(config):
    config.test_evaluator = dict(type='DumpResults', out_file_path='x.pkl')
    for option in ('boundary_iou', 'oracles'):
        with pytest.raises(InputError, match='needs an IoUMetric or ConfusionMetric'):
            evaluate(config, **{option: True})
