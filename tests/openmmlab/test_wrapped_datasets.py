"""Datasets, pipelines, file backends and models of test-time augmentation of OpenMMLab."""

import pytest
from helpers import load_config, make_voc
from mmengine.fileio import LocalBackend, register_backend
from mmengine.fileio.backends import backends

from sclip_mmseg import InputError
from sclip_mmseg.evaluation import evaluate

CONFIG = 'sclip_vit-b16_voc20'


class Elsewhere(LocalBackend):
    """Files that only a backend finds: their paths do not exist on this machine."""

    def get(self, filepath):
        return super().get(str(filepath).replace('store://', ''))


@pytest.fixture(scope='module', autouse=True)
def _backend():
    register_backend('elsewhere', Elsewhere)
    yield
    del backends['elsewhere']


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return make_voc(tmp_path_factory.mktemp('data')) / 'VOCdevkit/VOC2012'


@pytest.fixture
def run(clip_path, root, tmp_path):
    """Evaluate the config after a change, and give the counts of all images by name."""

    def run(change=None, tta=False, config=CONFIG):
        cfg = load_config(config, clip_path)
        cfg.test_dataloader.num_workers = 0
        cfg.test_dataloader.dataset.data_root = str(root)
        if change:
            change(cfg)
        return evaluate(cfg, work_dir=tmp_path / 'work', tta=tta, out=tmp_path / 'out')

    return run


def _wrap(kind, **options):
    def change(cfg):
        own = cfg.test_dataloader.dataset
        inner = dict(datasets=[own, own]) if kind == 'ConcatDataset' else dict(dataset=own)
        cfg.test_dataloader.dataset = dict(type=kind, **inner, **options)

    return change


@pytest.mark.parametrize('change', [_wrap('ConcatDataset'), _wrap('RepeatDataset', times=2)])
@pytest.mark.parametrize('tta', [False, True])
def test_a_dataset_made_of_others(run, change, tta):
    once, twice = run(tta=tta), run(change, tta)
    assert len(twice.images) == 2 * len(once.images)
    assert (twice.confusion() == 2 * once.confusion()).all()


def test_a_wrapper_that_needs_the_classes_of_images_is_one_line(run):
    with pytest.raises(InputError, match='ClassBalancedDataset needs the classes of each image'):
        run(_wrap('ClassBalancedDataset', oversample_thr=0.5))


@pytest.mark.parametrize('everywhere', [False, True])
def test_another_file_backend(run, everywhere):
    def change(cfg):
        dataset = cfg.test_dataloader.dataset
        for step in dataset.pipeline:
            if step.type.startswith('Load'):
                step.backend_args = dict(backend='elsewhere')
        dataset.data_prefix = {
            key: f'store://{dataset.data_root}/{value}'
            for key, value in dataset.data_prefix.items()
        }
        dataset.ann_file = f'{dataset.data_root}/{dataset.ann_file}'
        dataset.data_root = ''
        if everywhere:
            dataset.backend_args = dict(backend='elsewhere')

    expected = run().confusion()
    assert (run(change).confusion() == expected).all()


def test_labels_that_are_resized_with_the_image_are_one_line(run):
    def change(cfg):
        steps = cfg.test_dataloader.dataset.pipeline
        steps[1], steps[2] = steps[2], steps[1]

    with pytest.raises(InputError, match='put LoadAnnotations after Resize'):
        run(change)


def test_several_metrics_and_label_maps(run, tmp_path):
    def change(cfg):
        kinds = dict(iou_metrics=['mIoU', 'mDice']), dict(iou_metrics=['mFscore'], prefix='f')
        cfg.test_evaluator = [dict(type='IoUMetric', **kind) for kind in kinds]

    result = run(change)
    assert len(list((tmp_path / 'out').rglob('*.png'))) == len(result.images)


def test_mmseg_s_tta_model_works_or_says_what_it_leaves_out(run):
    def change(cfg):
        cfg.tta_model.type = 'SegTTAModel'

    own, merged = run(tta=True).confusion(), run(change, tta=True).confusion()
    assert merged.sum() == own.sum()
    assert abs(merged - own).sum() < 0.2 * own.sum()  # it averages a softmax of scores

    with pytest.raises(InputError, match='SegTTAModel takes the best .*CLIPTTAModel'):
        run(change, tta=True, config='sclip_vit-b16_voc21')  # which has thresholds
