"""Split files as text editors save them."""

import pytest
from helpers import load_config, run_test

from sclip_mmseg import InputError
from sclip_mmseg.datasets.checks import load_dataset
from sclip_mmseg.datasets.split import check_split


@pytest.fixture
def split(voc_root):
    return voc_root / 'VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt'


@pytest.fixture
def dataset_cfg(voc_root):
    cfg = load_config('sclip_vit-b16_voc21').test_dataloader.dataset
    cfg.data_root = str(voc_root / 'VOCdevkit/VOC2012')
    return cfg


@pytest.mark.parametrize('text', ['image_0\nimage_1\n', 'image_0\r\nimage_1 \r\n', 'image_0'])
def test_what_mmseg_reads_as_it_is_meant(split, dataset_cfg, text):
    split.write_bytes(text.encode())
    names = text.split()
    dataset = load_dataset(dataset_cfg)
    paths = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    assert [path.rpartition('/')[2] for path in paths] == [f'{name}.jpg' for name in names]


REFUSED = {
    'has no name in line 2: remove': b'image_0\n\nimage_1\n',
    'has no name in line 3: remove': b'image_0\nimage_1\n \n',
    'begins with a byte-order mark: save': '\ufeffimage_0\n'.encode(),
    'has image_0 in line 1 and in line 3: remove one': b'image_0\nimage_1\nimage_0\n',
    'is not UTF-8 text': b'\xff\xfe\x00',
}


@pytest.mark.parametrize('message', REFUSED)
def test_what_mmseg_would_misread_is_refused(split, dataset_cfg, message):
    split.write_bytes(REFUSED[message])
    for check in (lambda: check_split(str(split)), lambda: load_dataset(dataset_cfg)):
        with pytest.raises(InputError, match=f'val.txt {message}'):
            check()


def test_a_run_says_so_in_one_line(split, voc_root):
    split.write_text('image_0\n\n')
    result = run_test(
        'sclip_vit-b16_voc21', '--work-dir', voc_root, data_root=voc_root, check=False
    )
    line = result.stdout.splitlines()[-1]
    assert line.startswith(f'error: {split} has no name in line 2')


def test_only_lists_of_names_are_read(split, dataset_cfg):
    split.write_text('{\n},\n},\n')
    dataset_cfg.type = 'BaseCDDataset'
    dataset_cfg.data_prefix.img_path2 = 'JPEGImages'
    dataset_cfg.metainfo = dict(classes=['a'], palette=[[0, 0, 0]])
    load_dataset(dataset_cfg)
