"""Files that cannot be used are named; mistakes in code keep their tracebacks."""

import numpy as np
import pytest
from helpers import load_config
from mmcv.transforms import BaseTransform
from PIL import Image

from sclip_mmseg import InputError
from sclip_mmseg.datasets.checks import CheckedPipeline, check_ignored, check_labels, load_dataset


class Broken(BaseTransform):
    def transform(self, results):
        raise self.error


@pytest.fixture
def dataset(voc_root):
    cfg = load_config('sclip_vit-b16_voc21').test_dataloader.dataset
    cfg.data_root = str(voc_root / 'VOCdevkit/VOC2012')
    dataset = load_dataset(cfg)
    dataset.pipeline = CheckedPipeline(dataset)
    return dataset


@pytest.fixture
def voc(voc_root):
    return voc_root / 'VOCdevkit/VOC2012'


@pytest.mark.parametrize('error', [ValueError, OSError, KeyError, AssertionError, RuntimeError])
def test_an_error_of_the_pipeline_is_passed_on(dataset, error):
    step = Broken()
    step.error = error('a mistake in code')
    dataset.pipeline.pipeline.transforms.append(step)
    with pytest.raises(error) as caught:
        dataset[0]
    assert caught.value is step.error


@pytest.mark.parametrize('content', [None, b'', b'no picture', b'\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR'])
@pytest.mark.parametrize('name', ['JPEGImages/image_1.jpg', 'SegmentationClass/image_1.png'])
def test_an_unreadable_file_is_named(dataset, voc, name, content):
    (voc / name).unlink()
    if content is not None:
        (voc / name).write_bytes(content)
    dataset[0]
    with pytest.raises(InputError, match=f'cannot load .*{name}: '):
        dataset[1]
    if name.endswith('png'):
        with pytest.raises(InputError, match=f'{name} cannot be read as a label'):
            check_labels(dataset)


def test_a_label_that_is_cut_off(dataset, voc):
    path = voc / 'SegmentationClass/image_1.png'
    noise = np.random.default_rng(0).integers(0, 20, (130, 100), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match='cannot load .*image_1.png: '):
        dataset[1]


@pytest.mark.parametrize('ids, strange', [([0, 20, 255], None), ([21, 3, 254], r'\[21, 254\]')])
def test_ids_outside_the_classes(dataset, voc, ids, strange):
    label = np.resize(np.array(ids, dtype=np.uint8), (130, 100))
    Image.fromarray(label).save(voc / 'SegmentationClass/image_1.png')
    for check in (lambda: dataset[1], lambda: check_labels(dataset)):
        if strange is None:
            check()
        else:
            with pytest.raises(InputError, match=f'image_1.png has label ids {strange} outside'):
                check()


def write_labels(voc, ids):
    for path in (voc / 'SegmentationClass').iterdir():
        size = Image.open(path).size[::-1]
        Image.fromarray(np.resize(np.array(ids), size)).save(path)


def test_ids_of_16_bits_are_not_taken_modulo_256(dataset, voc):
    write_labels(voc, np.array([257, 276], np.uint16))
    for check in (lambda: dataset[1], lambda: check_labels(dataset)):
        with pytest.raises(InputError, match=r'image_\d.png has label ids \[257, 276\] outside'):
            check()
    write_labels(voc, np.array([0, 20, 255], np.uint16))
    check_labels(dataset)
    assert dataset[1]['data_samples'].gt_sem_seg.data.unique().tolist() == [0, 20, 255]


@pytest.mark.parametrize(
    'given, ignored, strange',
    [
        (65535, [65535], [255]),
        (255, [65535], [255]),
        (65535, [255], [65535]),
        (0, [0], [255, 65535]),
    ],
)
def test_only_what_the_metric_leaves_out_is_ignored(dataset, voc, given, ignored, strange):
    write_labels(voc, np.array([0, 5, *strange], np.uint16))
    dataset.ignore_index = given
    dataset.pipeline.ignored = ignored
    for check in (lambda: dataset[1], lambda: check_labels(dataset, ignored)):
        with pytest.raises(InputError, match=rf'ids \[{strange[0]}.* ignored: {ignored[0]}\)'):
            check()
    write_labels(voc, np.array([0, 5, *ignored], np.uint16))
    check_labels(dataset, ignored)
    assert dataset[1]['data_samples'].gt_sem_seg.data.unique().tolist() == sorted({0, 5, *ignored})


def test_an_id_that_one_of_two_metrics_counts(dataset, voc):
    write_labels(voc, np.array([0, 5, 255], np.uint8))
    with pytest.raises(InputError, match=r'ids \[255\] outside .* ignored: 255, 300'):
        check_labels(dataset, {255, 300})


def test_more_classes_than_the_default_of_the_ignored_id_allows(dataset):
    dataset.ignore_index, dataset._metainfo['classes'] = 65535, [f'c{i}' for i in range(256)]
    check_ignored(dataset, {65535})
    for index, ignored in ((65535, {255}), (255, {65535})):
        dataset.ignore_index = index
        with pytest.raises(InputError, match='has 256 classes, and class 255 would be ignored'):
            check_ignored(dataset, ignored)
    dataset.ignore_index, dataset._metainfo['classes'] = 255, [f'c{i}' for i in range(255)]
    check_ignored(dataset, {255})


def test_masks_are_not_label_maps(dataset, voc):
    write_labels(voc, np.array([0, 255], np.uint8))
    with pytest.raises(InputError, match='3 labels hold nothing but 0 .background. and the ignor'):
        check_labels(dataset)
    dataset._metainfo['classes'] = ['road', 'car']
    with pytest.warns(UserWarning, match='nothing but 0 .road. and the ignored 255'):
        check_labels(dataset)


def test_no_pixel_is_left(dataset, voc):
    write_labels(voc, np.array([255], np.uint8))
    with pytest.raises(InputError, match=r'no pixel is left to evaluate, the 3 labels hold .*255.'):
        check_labels(dataset)


def test_labels_that_start_with_nothing_to_evaluate(dataset, voc, monkeypatch):
    monkeypatch.setattr('sclip_mmseg.datasets.checks._SAMPLED_LABELS', 1)
    for ids in ([255], [0, 255]):
        write_labels(voc, np.array(ids, np.uint8))
        Image.new('L', (100, 100), 7).save(voc / 'SegmentationClass/image_2.png')
        check_labels(dataset)


@pytest.mark.parametrize('ids', [[0], [5], [5, 255], [0, 5]])
def test_labels_of_few_classes(dataset, voc, ids):
    write_labels(voc, np.array(ids, np.uint8))
    check_labels(dataset)


def test_reduced_labels_of_the_first_class_alone(dataset, voc):
    write_labels(voc, np.array([0, 1], np.uint8))
    dataset.reduce_zero_label = dataset._metainfo['reduce_zero_label'] = True
    check_labels(dataset)
