"""Split files as editors leave them."""

import pytest
from helpers import load_config, metrics, run_test

from sclip_mmseg import InputError
from sclip_mmseg.datasets.checks import check_files, load_dataset
from sclip_mmseg.datasets.split import read_split, with_clean_split

SMALL = ('model.test_cfg.crop_size=112', 'model.test_cfg.stride=56')
UNTIDY = '\ufeffimage_0\r\n\r\nimage_1 \n\nimage_2\n\n'


@pytest.fixture
def split(voc_root):
    return voc_root / 'VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt'


@pytest.fixture
def dataset_cfg(voc_root):
    cfg = load_config('sclip_vit-b16_voc21').test_dataloader.dataset
    cfg.data_root = str(voc_root / 'VOCdevkit/VOC2012')
    return cfg


def test_a_byte_order_mark_and_empty_lines_are_no_names(split):
    split.write_bytes(UNTIDY.encode())
    assert read_split(str(split)) == (['image_0', 'image_1', 'image_2'], True)
    split.write_text('image_0\nimage_1\n')
    assert read_split(str(split)) == (['image_0', 'image_1'], False)


def test_the_dataset_has_the_names_alone(split, dataset_cfg):
    split.write_bytes(UNTIDY.encode())
    dataset = load_dataset(dataset_cfg)
    check_files(dataset)
    assert len(dataset) == 3
    assert dataset.ann_file == str(split)
    built = with_clean_split(dict(dataset=dataset_cfg))['dataset']
    assert [built.get_data_info(i)['img_path'] for i in range(len(built))] == [
        dataset.get_data_info(i)['img_path'] for i in range(3)
    ]
    split.write_text('image_0\n')
    loader = dict(dataset=dataset_cfg)
    assert with_clean_split(loader) is loader


def test_a_run_with_it(split, clip_path, voc_root):
    split.write_bytes(UNTIDY.encode())
    flags = ('--work-dir', voc_root / 'work', '--cfg-options', *SMALL)
    output = run_test('sclip_vit-b16_voc21', clip_path, *flags, data_root=voc_root).stdout
    assert 'PascalVOCDataset, 3 images in ' in output
    assert 0 < metrics(output)['aAcc'] < 100


def test_a_name_twice_is_refused(split, dataset_cfg):
    split.write_text('image_0\nimage_1\n\nimage_0\n')
    with pytest.raises(InputError, match=r'val\.txt has image_0 in line 1 and in line 4: remove'):
        load_dataset(dataset_cfg)
    with pytest.raises(InputError, match='would count twice'):
        with_clean_split(dict(dataset=dataset_cfg))


def test_only_lists_of_names_are_read(split, dataset_cfg):
    split.write_text('{\n},\n},\n')
    other = dict(dataset_cfg, type='BaseCDDataset')
    loader = dict(dataset=other)
    assert with_clean_split(loader) is loader


def test_no_text(split):
    split.write_bytes(b'\xff\xfe\x00')
    with pytest.raises(InputError, match=r'val\.txt is not UTF-8 text'):
        read_split(str(split))
