"""Files that cannot be used are named; mistakes in code keep their tracebacks."""

import numpy as np
import pytest
from helpers import load_config
from mmcv.transforms import BaseTransform
from PIL import Image

from sclip_mmseg import InputError
from sclip_mmseg.datasets.checks import CheckedPipeline, check_labels, load_dataset


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
