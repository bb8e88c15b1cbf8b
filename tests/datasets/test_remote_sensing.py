"""The remote sensing benchmarks, on small synthetic datasets in each layout."""

import os.path as osp
from pathlib import Path

import numpy as np
import pytest
from helpers import load_config
from PIL import Image

from sclip_mmseg import InputError
from sclip_mmseg.cli import check_data
from sclip_mmseg.datasets.benchmarks import BENCHMARKS
from sclip_mmseg.datasets.checks import CheckedPipeline, check_labels, load_dataset

NAMES = [name for name, record in BENCHMARKS.items() if record.group == 'remote sensing']
MASKS = [name for name in NAMES if BENCHMARKS[name].queries.startswith('rs_')]
SPLIT = Path(check_data.__file__).parents[1] / 'datasets/splits/wbs_si.txt'
SUFFIXES = {
    **dict.fromkeys(NAMES, ('.png', '.png')),
    **dict.fromkeys(('openearthmap', 'whu_sat_ii'), ('.tif', '.tif')),
    **dict.fromkeys(('udd5', 'vdd'), ('.JPG', '.png')),
    **dict.fromkeys(
        (name for name in MASKS if 'road' in BENCHMARKS[name].queries), ('.jpg', '.png')
    ),
    'isaid': ('.png', '_instance_color_RGB.png'),
    'wbs_si': ('.jpg', '.jpg'),
}


def _make(root, name, labels):
    """Write images, and labels with the given values; return the config's dataset."""
    dataset = load_config(f'segearth_vit-b16_{name}').test_dataloader.dataset
    dataset.data_root = str(root / 'data')
    stems = SPLIT.read_text().split() if name == 'wbs_si' else ['a', 'b']
    folders = dataset.data_prefix.img_path, dataset.data_prefix.seg_map_path
    for folder in folders:
        (root / 'data' / folder).mkdir(parents=True)
    image = Image.fromarray(np.full((20, 30, 3), 90, np.uint8))
    values = np.array(labels, np.uint8)
    label = Image.fromarray(values.repeat(-(-600 // len(values)))[:600].reshape(20, 30))
    for stem in stems:
        for folder, suffix, content in zip(folders, SUFFIXES[name], (image, label)):
            kind = 'JPEG' if suffix.lower() == '.jpg' else None
            content.save(root / 'data' / folder / f'{stem}{suffix}', kind)
    return dataset


@pytest.mark.parametrize('name', NAMES)
def test_each_layout_is_read(tmp_path, name):
    record = BENCHMARKS[name]
    cfg = _make(tmp_path, name, [0, 255] if name == 'wbs_si' else [0, 1])
    dataset = load_dataset(cfg)
    assert len(dataset) == (499 if name == 'wbs_si' else 2)
    check_labels(dataset)
    info = dataset.get_data_info(0)
    assert all(osp.isfile(info[key]) for key in ('img_path', 'seg_map_path'))
    sample = CheckedPipeline(dataset)(info)['data_samples']
    assert sample.gt_sem_seg.shape == (20, 30) and max(sample.img_shape) == 448
    expected = {0, 255} if dataset.reduce_zero_label else {0, 1}
    assert set(sample.gt_sem_seg.data.unique().tolist()) == expected
    assert type(dataset).__name__ == record.dataset


def _read(tmp_path, name, labels):
    dataset = load_dataset(_make(tmp_path, name, labels))
    label = CheckedPipeline(dataset)(dataset.get_data_info(0))['data_samples'].gt_sem_seg
    return set(label.data.unique().tolist())


@pytest.mark.parametrize(
    'labels, expected',
    [
        ([0, 255], {0, 1}),
        ([0, 1, 255], {0, 1, 255}),
        ([0], {0}),
        ([255], {1}),
        ([127, 128], {0, 1}),
    ],
)
def test_masks_as_published_and_as_ids(tmp_path, labels, expected):
    assert _read(tmp_path, 'inria', labels) == expected


@pytest.mark.parametrize('name, labels', [('inria', [0, 2]), ('wbs_si', [0, 1])])
def test_a_file_that_is_not_a_mask_is_refused(tmp_path, name, labels):
    words = 'expected 0 and 1, or a black and white mask'
    words += '' if name == 'inria' else r' \(ids that were saved as JPEG are not kept'
    with pytest.raises(InputError, match=words):
        _read(tmp_path, name, labels)


@pytest.mark.parametrize('name, labels', [('loveda', range(8)), ('spacenet_road', [0, 255])])
def test_data_check(tmp_path, monkeypatch, capsys, name, labels):
    dataset = _make(tmp_path, name, labels)
    monkeypatch.setenv('SCLIP_DATA_ROOT', str(tmp_path / 'root'))
    root = Path(load_config(f'sclip_vit-b16_{name}').test_dataloader.dataset.data_root)
    root.parent.mkdir(parents=True)
    Path(dataset.data_root).rename(root)
    for arguments, status in ((['--partial'], False), ([], True)):
        with pytest.raises(SystemExit) as stop:
            check_data.main([name, '--nproc', '1', '--classes', *arguments])
        output = capsys.readouterr().out
        assert bool(stop.value.code) == status, output
        assert f'2 images, the published split has {BENCHMARKS[name].images[0]}' in output
        assert f'{len(labels) - (name == "loveda")} of ' in output
