import numpy as np
import pytest
from mmseg.registry import DATASETS, TRANSFORMS
from PIL import Image


def _labels(dataset):
    load = TRANSFORMS.build(dict(type='LoadAnnotations'))
    return load(dataset.get_data_info(0))['gt_seg_map']


def test_voc20_ignores_the_background(voc_root):
    voc = voc_root / 'VOCdevkit/VOC2012'
    dataset = DATASETS.build(
        dict(
            type='PascalVOC20Dataset',
            data_root=str(voc),
            data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
            ann_file='ImageSets/Segmentation/val.txt',
        )
    )
    raw = np.array(Image.open(voc / 'SegmentationClass/image_0.png')).astype(int)
    raw[0, :21] = range(21)
    Image.fromarray(raw.astype(np.uint8)).save(voc / 'SegmentationClass/image_0.png')
    assert len(dataset) == 3
    assert (_labels(dataset) == np.where(raw == 0, 255, raw - 1)).all()
    assert dataset.metainfo['classes'][:2] == ('aeroplane', 'bicycle')
    assert len(dataset.metainfo['palette']) == 20


@pytest.mark.parametrize('classes', [81])
def test_coco_object(tmp_path, classes):
    for folder, suffix, mode in (
        ('images', '.jpg', 'RGB'),
        ('labels', '_instanceTrainIds.png', 'L'),
    ):
        (tmp_path / folder).mkdir()
        Image.new(mode, (9, 8), 80 if mode == 'L' else 0).save(tmp_path / folder / f'1{suffix}')
    dataset = DATASETS.build(
        dict(
            type='COCOObjectDataset',
            data_root=str(tmp_path),
            data_prefix=dict(img_path='images', seg_map_path='labels'),
        )
    )
    assert len(dataset) == 1
    assert (_labels(dataset) == 80).all()
    assert dataset.metainfo['classes'][0::80] == ('background', 'toothbrush')
    assert len({tuple(c) for c in dataset.metainfo['palette']}) == classes
