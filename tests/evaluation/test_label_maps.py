"""`--out` and `--show-dir` write one file per image, with the documented ids."""

import numpy as np
import pytest
import torch
from helpers import ROOT, call_tool, config_path, run_test
from PIL import Image

from sclip_mmseg import InputError
from sclip_mmseg.datasets.output_names import name_outputs
from sclip_mmseg.evaluation import ConfusionMetric

SMALL = ('model.test_cfg.crop_size=112', 'model.test_cfg.stride=56')


@pytest.mark.parametrize(
    'paths, names',
    [
        (['x/a.jpg', 'y/b.jpg'], ['a', 'b']),
        (['x/a.jpg', 'y/a.jpg'], ['x_a', 'y_a']),
        (['x/a.jpg', 'y/A.jpg'], ['x_a', 'y_A']),
        (['x/a.jpg', 'x/a.png'], ['a.jpg', 'a.png']),
        (['r/x/y/a.b.jpg', 'r/x/a.b.jpg'], ['y_a.b', 'a.b']),
        (['x/y/a.jpg', 'x_y/a.jpg'], ['x/y/a.jpg', 'x_y/a.jpg']),
        (['x/a.jpg', 'x/a.jpg'], ['a', 'a']),
    ],
)
def test_names_tell_images_apart(paths, names):
    assert [name_outputs(paths)[path] for path in paths] == names


@pytest.mark.parametrize('classes, dtype', [(256, np.uint8), (257, np.uint16)])
@pytest.mark.parametrize(
    'reduced, out_ids, first', [(True, 'labels', 1), (True, 'classes', 0), (False, 'labels', 0)]
)
def test_label_maps_contain_the_requested_ids(tmp_path, classes, dtype, reduced, out_ids, first):
    if first:
        classes -= 1  # the largest id is that of the last class, plus 1
    metric = ConfusionMetric(output_dir=str(tmp_path), out_ids=out_ids, ignore_index=65535)
    metric.dataset_meta = dict(classes=[f'c{i}' for i in range(classes)])
    prediction = torch.tensor([[[0, 1, classes - 1]]]).mT  # of one column
    sample = dict(
        img_path='some/a.jpg',
        reduce_zero_label=reduced,
        gt_sem_seg=dict(data=prediction),
        pred_sem_seg=dict(data=prediction),
    )
    metric.process({}, [sample])
    written = np.array(Image.open(tmp_path / 'a.png'))
    assert written.dtype == dtype
    assert written.tolist() == (prediction[0] + first).tolist()
    [(name, counts)] = metric.results
    assert name == 'some/a.jpg' and counts[0].tolist() == [0, 1, classes - 1]


def test_a_label_map_without_a_label(tmp_path):
    metric = ConfusionMetric(output_dir=str(tmp_path), format_only=True)
    metric.dataset_meta = dict(classes=['a', 'b'])
    metric.output_names = {'x/a.jpg': 'x_a', 'y/a.jpg': 'y/a'}
    for path in metric.output_names:
        metric.process({}, [dict(img_path=path, pred_sem_seg=dict(data=torch.zeros(1, 2, 2)))])
    assert (tmp_path / 'x_a.png').is_file() and (tmp_path / 'y/a.png').is_file()
    assert metric.evaluate(2) == {}


def test_another_word_for_ids():
    with pytest.raises(InputError, match="out_ids='index': use one of labels, classes"):
        ConfusionMetric(out_ids='index')


@pytest.fixture
def nested(tmp_path):
    """A config of four images, two pairs of which have the same name."""
    rng = np.random.default_rng(0)
    for camera in ('cam1', 'cam2'):
        for folder in ('img', 'ann'):
            (tmp_path / folder / camera).mkdir(parents=True)
        for name in ('0', '1'):
            noise = rng.integers(0, 256, (80, 100, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / f'img/{camera}/{name}.jpg')
            Image.fromarray(noise[..., 0] % 21).save(tmp_path / f'ann/{camera}/{name}.png')
    path = tmp_path / 'nested.py'
    path.write_text(
        f'_base_ = {str(config_path("sclip_vit-b16_voc21"))!r}\n'
        "names = ['background', *(f'c{i}' for i in range(20))]\n"
        'test_dataloader = dict(num_workers=0, dataset=dict(_delete_=True,\n'
        "    type='BaseSegDataset', data_root=" + repr(str(tmp_path)) + ',\n'
        '    metainfo=dict(classes=names, palette=[[i, i, i] for i in range(21)]),\n'
        "    data_prefix=dict(img_path='img', seg_map_path='ann'),\n"
        '    pipeline={{_base_.test_pipeline}}))\n'
    )
    return path


def test_images_of_one_name_in_different_folders(nested, clip_path):
    root = nested.parent
    flags = ('--work-dir', root / 'work', '--out', root / 'out', '--show-dir', root / 'show')
    run_test(nested, clip_path, *flags, '--cfg-options', *SMALL)
    names = [f'cam{camera}_{index}' for camera in (1, 2) for index in (0, 1)]
    assert sorted(path.name for path in (root / 'out').iterdir()) == [f'{n}.png' for n in names]
    maps = {np.array(Image.open(root / f'out/{name}.png')).tobytes() for name in names}
    assert len(maps) == 4
    overlays = sorted(path.name for path in (root / 'show').rglob('*.png'))
    assert overlays == [f'test_{name}.jpg_0.png' for name in names]


TWO_METRICS = """test_evaluator = [
    dict(type='ConfusionMetric'), dict(type='IoUMetric', prefix='i', output_dir='o')
]"""
STOCK_DRAWING = """
visualizer = dict(type='SegLocalVisualizer')
default_hooks = dict(visualization=dict(draw=True))
"""
REGIONS = """
model = dict(region_masks='m/{stem}.npz', postprocess=dict(type='RegionMajority'))
"""


@pytest.mark.parametrize(
    'lines, message',
    [
        (TWO_METRICS, 'IoUMetric names files after images'),
        (STOCK_DRAWING, 'SegLocalVisualizer names files after images'),
        (REGIONS, 'cam2/0.jpg and {root}/img/cam1/0.jpg would share a region map'),
    ],
)
def test_what_would_write_or_read_one_file_for_two_images(nested, clip_path, lines, message):
    with nested.open('a') as file:
        file.write(lines)
    flags = ('--work-dir', nested.parent / 'work')
    result = run_test(nested, clip_path, *flags, check=False, cwd=nested.parent)
    line = result.stdout.splitlines()[-1]
    assert line.startswith('error: ') and message.format(root=nested.parent) in line


def test_region_maps_of_images_of_one_name(nested, clip_path):
    root = nested.parent
    pattern = f'{root}/maps/{{folder}}/{{stem}}.npz'
    call_tool(ROOT / 'tools/make_region_masks.py', nested, '--out', pattern, '--nproc', 1)
    assert len(list((root / 'maps').rglob('*.npz'))) == 4
    options = (f'model.region_masks={pattern}', 'model.postprocess.type=RegionMajority', *SMALL)
    run_test(nested, clip_path, '--work-dir', root / 'work', '--cfg-options', *options)


def test_class_indices_are_asked_for_by_a_flag(clip_path, voc_root):
    maps = {}
    for ids in ('labels', 'classes'):
        out = voc_root / ids
        flags = ('--out', out, '--out-ids', ids, '--work-dir', voc_root / 'work')
        run_test(
            'sclip_vit-b16_voc20', clip_path, *flags, '--cfg-options', *SMALL, data_root=voc_root
        )
        maps[ids] = np.array(Image.open(out / 'image_0.png'))
    assert (maps['labels'] == maps['classes'] + 1).all()


def test_ids_of_no_label_maps(clip_path, voc_root):
    flags = ('--out-ids', 'classes', '--work-dir', voc_root / 'work')
    result = run_test('sclip_vit-b16_voc20', clip_path, *flags, data_root=voc_root, check=False)
    assert result.stdout.startswith('error: --out-ids selects the ids in the label maps of --out')


@pytest.mark.parametrize('value', ['None', '[]', 'word', 'dict(iou_metrics=["mIoU"])'])
def test_an_evaluator_that_is_none(nested, clip_path, value):
    with nested.open('a') as file:
        file.write(f'test_evaluator = {value}\n'.replace('= word', "= 'word'"))
    if 'dict' in value:
        nested.write_text(nested.read_text().replace('= dict(iou', '= dict(_delete_=True, iou'))
    flags = ('--work-dir', nested.parent / 'work')
    output = run_test(nested, clip_path, *flags, check=False).stdout
    assert output.startswith('error: test_evaluator=') and 'must be a dict with a type' in output
