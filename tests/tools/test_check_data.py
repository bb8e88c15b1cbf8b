import shutil

import numpy as np
import pytest
from helpers import ROOT, make_voc, run_tool
from PIL import Image

TOOL = ROOT / 'tools/check_data.py'


def _check(root, *arguments, wrong=True):
    result = run_tool(
        *(TOOL, *arguments, '--nproc', 1), env={'SCLIP_DATA_ROOT': str(root)}, check=False
    )
    assert result.returncode == int(wrong), result.stdout
    assert 'Traceback' not in result.stdout
    return result.stdout


@pytest.fixture
def voc(voc_root):
    return voc_root / 'VOCdevkit/VOC2012'


def _make_ade(root, ids):
    """Three images of ADE20K whose labels hold the given ids."""
    ade = root / 'ade/ADEChallengeData2016'
    for kind, suffix in (('images', 'jpg'), ('annotations', 'png')):
        (ade / kind / 'validation').mkdir(parents=True)
        for index in range(3):
            labels = np.resize(np.array(ids, dtype=np.uint8), (40, 50))
            picture = Image.fromarray(labels)
            picture.save(ade / kind / f'validation/{index}.{suffix}')
    return root


def test_a_good_dataset(voc_root, tmp_path):
    out = tmp_path / 'sheets'
    output = _check(voc_root, 'voc21', 'voc20', '--out', out, '--classes', wrong=False)
    assert 'voc21: 3 images, the published split has 1449' in output
    assert 'aeroplane' in output
    assert Image.open(out / 'voc20.png').width > 640


def test_missing_folder(tmp_path):
    output = _check(tmp_path, 'cityscapes')
    assert 'cityscapes: CityscapesDataset: folder' in output and 'SCLIP_DATA_ROOT' in output


def test_missing_and_unreadable_files(voc_root, voc):
    (voc / 'JPEGImages/image_0.jpg').unlink()
    (voc / 'JPEGImages/image_1.jpg').write_text('no picture')
    (voc / 'SegmentationClass/image_2.png').write_text('no picture')
    output = _check(voc_root, 'voc21')
    for part in ('image_0.jpg is missing', 'image_1.jpg is no image', 'image_2.png is missing or'):
        assert part in output


def test_sizes_differ(voc_root, voc):
    Image.new('L', (7, 5)).save(voc / 'SegmentationClass/image_1.png')
    assert 'image_1.png is 7×5 pixels, its image 100×130' in _check(voc_root, 'voc21')


def test_coloured_label(voc_root, voc):
    Image.new('RGB', (100, 130)).save(voc / 'SegmentationClass/image_1.png')
    assert 'image_1.png is no label map' in _check(voc_root, 'voc21')


def test_raw_ids(tmp_path):
    root = tmp_path / 'data'
    make_voc(root)
    city = root / 'cityscapes'
    for kind, suffix in (('leftImg8bit', 'leftImg8bit'), ('gtFine', 'gtFine_labelTrainIds')):
        (city / kind / 'val/a').mkdir(parents=True)
        labels = np.resize(np.array([7, 8, 33], dtype=np.uint8), (40, 50))
        Image.fromarray(labels).save(city / kind / f'val/a/1_{suffix}.png')
    output = _check(root, 'cityscapes')
    assert 'labels hold ids [33] outside the 19 classes' in output and 'raw ids' in output


def test_labels_reduced_already(tmp_path):
    output = _check(_make_ade(tmp_path, [0, 3, 149, 255]), 'ade20k')
    assert 'look reduced already' in output
    shutil.rmtree(tmp_path / 'ade')
    _check(_make_ade(tmp_path, [0, 3, 150]), 'ade20k', wrong=False)


def test_labels_that_need_reducing(voc_root, voc):
    labels = np.resize(np.arange(22, dtype=np.uint8), (130, 100))
    Image.fromarray(labels).save(voc / 'SegmentationClass/image_1.png')
    assert 'need reduce_zero_label=True' in _check(voc_root, 'voc21')


def test_the_reference_photographs(shared):
    names = ('voc21', 'voc20', 'context60', 'context59', 'cityscapes', 'ade20k')
    output = _check(shared / 'data', *names, 'coco_stuff164k', '--limit', 3, wrong=False)
    assert 'context59: 4 images, the published split has 5104' in output
