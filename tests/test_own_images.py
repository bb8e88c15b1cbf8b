"""`sclip evaluate`: labels of each kind, made to give a known IoU."""

import csv
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, call_tool, make_voc, metrics, run_test
from mmseg.evaluation import IoUMetric
from PIL import Image

from sclip_mmseg import InputError
from sclip_mmseg.benchmark.own_images import evaluate_methods, make_config
from sclip_mmseg.datasets.checks import load_dataset
from sclip_mmseg.datasets.folder.layout import OwnImages
from sclip_mmseg.evaluation import Result, make_fingerprint
from sclip_mmseg.zoo import warn_of_toy

CLI = ROOT / 'sclip_mmseg/cli/__main__.py'
CLASSES = 'sky, clouds; grass; cat; dog'
SMALL = {
    'model.test_cfg.crop_size': 112,
    'model.test_cfg.stride': 112,
    'test_pipeline.1.scale': (2048, 112),
}
SMALL_WORDS = [
    '--cfg-options',
    *(
        'model.test_cfg.crop_size=112',
        'model.test_cfg.stride=112',
        'test_pipeline.1.scale=(2048,112)',
    ),
]
COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (7, 7, 7), (9, 9, 9)]


pytestmark = pytest.mark.usefixtures('whole_configs')


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Folder of two images, one in a subfolder."""
    root = make_voc(tmp_path_factory.mktemp('own'), ((40, 60), (50, 30)))
    folder = root / 'images'
    (folder / 'deep').mkdir(parents=True)
    source = root / 'VOCdevkit/VOC2012/JPEGImages'
    shutil.copy(source / 'image_0.jpg', folder / 'a.jpg')
    shutil.copy(source / 'image_1.jpg', folder / 'deep/b.jpg')
    return folder


def _write(folder, labels, dtype=np.uint8, suffix='.png'):
    for name, label in labels.items():
        path = folder / f'{name}{suffix}'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(label, dtype)).save(path)
    return folder


def _evaluate(images, labels, out, clip_path, classes=CLASSES, methods=('sclip',), **kwargs):
    data = {key: kwargs.pop(key) for key in ('ignored', 'colors', 'split') if key in kwargs}
    return evaluate_methods(
        OwnImages(images, labels, **data),
        *(classes, methods),
        clip=clip_path,
        out=out,
        cfg_options=SMALL,
        **kwargs,
    )


@pytest.fixture(scope='module')
def predictions(images, clip_path, tmp_path_factory, whole_configs):
    """SCLIP's predictions for the images: name → classes."""
    folder = tmp_path_factory.mktemp('first')
    sizes = {'a': (40, 60), 'deep/b': (50, 30)}
    labels = _write(folder / 'labels', {name: np.zeros(size) for name, size in sizes.items()})
    with pytest.warns(UserWarning, match='no label has grass, cat, dog: the IoU of such a class'):
        _evaluate(images, labels, folder / 'out', clip_path)
    found = folder / 'out/sclip/predictions'
    return {name: np.array(Image.open(found / f'{name.rpartition("/")[2]}.png')) for name in sizes}


@pytest.fixture(scope='module')
def planted(predictions):
    """Truth of 4 classes in which classes 0 to 2 occur, 255 is ignored, and its IoU."""
    rng = np.random.default_rng(0)
    truth = {}
    for name, prediction in predictions.items():
        wrong = rng.random(prediction.shape)
        label = np.where(wrong < 0.3, (prediction.astype(int) + 1) % 3, prediction)
        label[label == 3] = 1
        truth[name] = np.where(wrong > 0.9, 255, label)
    return truth


def _brute_force(truth, predictions, count=4):
    iou = []
    for index in range(count):
        pairs = [(truth[n] == index, predictions[n] == index, truth[n] != 255) for n in truth]
        inter = sum(int((t & p & c).sum()) for t, p, c in pairs)
        union = sum(int(((t | p) & c).sum()) for t, p, c in pairs)
        iou.append(100 * inter / union if union else np.nan)
    return np.array(iou)


def _equal(result, truth, predictions):
    """The result has the planted IoU to the digit, and IoUMetric's counts."""
    expected = _brute_force(truth, predictions)
    np.testing.assert_allclose(result.IoU, expected, rtol=1e-6)
    assert result.mIoU == pytest.approx(np.nanmean(expected), rel=1e-6)
    areas = [
        IoUMetric.intersect_and_union(
            torch.from_numpy(predictions[n].astype(int)), torch.from_numpy(truth[n]), 4, 255
        )
        for n in truth
    ]
    sums = np.sum([[part.numpy() for part in each] for each in areas], axis=0)
    assert (result.areas().sum(0) == sums).all()


def _ids(truth, *stored):
    """Labels with the ids of four classes, and of what is ignored."""
    return {n: np.select([t == i for i in (0, 1, 2, 3, 255)], stored) for n, t in truth.items()}


def test_ids(images, predictions, planted, clip_path, tmp_path):
    labels = _write(tmp_path / 'labels', planted)
    results = _evaluate(images, labels, tmp_path / 'out', clip_path, methods=['sclip', 'clip'])
    assert list(results) == ['sclip', 'clip']
    assert results['sclip'].images == ['a.jpg', 'deep/b.jpg']
    assert results['sclip'].meta['config'] == 'sclip.py'
    assert [path.name for path in (tmp_path / 'out/sclip').glob('*.py')] == ['sclip.py']
    _equal(results['sclip'], planted, predictions)
    _check_outputs(tmp_path / 'out', results)


def _check_outputs(out, results):
    with open(out / 'results.csv', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert [row['method'] for row in rows] == list(results)
    for row, result in zip(rows, results.values()):
        assert float(row['mIoU']) == result.mIoU
        assert float(row['IoU sky']) == pytest.approx(result.IoU[0])
        assert row['name list'] == '5 names' and row['CLIP'] == 'clip.pt'
        assert row['protocol'].startswith('short side 112, windows 112 by 112')
    content = json.loads((out / 'results.json').read_text())
    assert [row['mIoU'] for row in content['results']] == [r.mIoU for r in results.values()]
    markdown, latex = (out / 'results.md').read_text(), (out / 'results.tex').read_text()
    for result in results.values():
        assert f'| {result.mIoU:.2f} |' in markdown and f'{result.mIoU:.2f}' in latex
    best = max(result.mIoU for result in results.values())
    assert rf'\textbf{{{best:.2f}}}' in latex
    with Image.open(out / 'contact_sheet_1.jpg') as sheet:
        assert min(sheet.size) > 100
    assert 'clip' in (out / 'comparison/report.html').read_text()


def test_a_class_that_is_nowhere(images, predictions, planted, clip_path, tmp_path):
    """Its IoU is NaN, not 0: empty in CSV, null in JSON, a dash elsewhere."""
    absent = 3  # wherever it is predicted, the label is ignored
    planted = {n: np.where(predictions[n] == absent, 255, t) for n, t in planted.items()}
    labels = _write(tmp_path / 'labels', planted)
    with pytest.warns(UserWarning, match='no label has'):
        result = _evaluate(images, labels, tmp_path / 'out', clip_path)['sclip']
    assert np.isnan(result.IoU[absent])
    name = result.class_names[absent]
    with open(tmp_path / 'out/results.csv', encoding='utf-8') as file:
        [row] = csv.DictReader(file)
    assert row[f'IoU {name}'] == ''
    content = json.loads((tmp_path / 'out/results.json').read_text())
    assert content['results'][0]['classes'][name]['IoU'] is None
    assert f'| {name} | – |' in (tmp_path / 'out/results.md').read_text()
    assert f'{name} & -- ' in (tmp_path / 'out/results.tex').read_text()


@pytest.mark.filterwarnings('ignore:no label has')
@pytest.mark.parametrize('kind', ['16 bits', 'palette', 'colours', 'instances', 'panoptic', 'voc'])
def test_other_labels(images, predictions, planted, clip_path, tmp_path, kind):
    labels, classes, options = tmp_path / 'labels', CLASSES, {}
    if kind == '16 bits':
        _write(labels, _ids(planted, 7, 300, 65534, 8, 65535), np.uint16, '.tif')
        classes = '7: sky, clouds; 300: grass; 65534: cat; 8: dog'
        options['ignored'] = 65535
    elif kind == 'colours':
        colors = np.array(COLORS)
        _write(labels, {n: colors[np.where(t == 255, 4, t)] for n, t in planted.items()})
        names = ('sky', 'grass', 'cat', 'dog', 'border')
        lines = [f'{n}: {r},{g},{b}' for n, (r, g, b) in zip(names, COLORS)]
        (tmp_path / 'table.txt').write_text('\n'.join(lines))
        options.update(colors=tmp_path / 'table.txt', ignored='border')
    elif kind == 'palette':
        for name, label in planted.items():
            image = Image.fromarray(label.astype(np.uint8)).convert('P')
            image.putdata(label.flatten().tolist())
            image.putpalette((np.arange(768) % 256).tolist())
            (labels / name).parent.mkdir(parents=True, exist_ok=True)
            image.save(labels / f'{name}.png')
    elif kind == 'instances':
        labels = _write_coco(tmp_path / 'labels.json', planted)
    elif kind == 'panoptic':
        labels = _write_panoptic(tmp_path / 'labels.json', planted)
    else:
        for name, label in planted.items():
            stem = name.rpartition('/')[2]
            _write(tmp_path / 'VOC/SegmentationClass', {stem: label})
            (tmp_path / 'VOC/JPEGImages').mkdir(exist_ok=True)
            shutil.copy(images / f'{name}.jpg', tmp_path / f'VOC/JPEGImages/{stem}.jpg')
        shutil.copy(images / 'a.jpg', tmp_path / 'VOC/JPEGImages/other.jpg')
        (tmp_path / 'VOC/ImageSets/Segmentation').mkdir(parents=True)
        (tmp_path / 'VOC/ImageSets/Segmentation/val.txt').write_text('a\nb\n')
        images, labels = tmp_path / 'VOC', None
    out = tmp_path / 'out'
    result = _evaluate(images, labels, out, clip_path, classes, **options)['sclip']
    _equal(result, planted, predictions)
    if kind == '16 bits':  # label maps have the ids of label files
        stored = np.array(Image.open(out / 'sclip/predictions/a.png'))
        assert (stored == np.array([7, 300, 65534, 8])[predictions['a']]).all()


def _write_coco(path, truth):
    images, annotations = [], []
    for number, (name, label) in enumerate(truth.items()):
        height, width = label.shape
        images.append(dict(id=number, file_name=f'{name}.jpg', height=height, width=width))
        for index in range(4):
            values = (label == index).flatten(order='F')
            edges = np.flatnonzero(np.diff(values)) + 1
            counts = np.diff([0, *edges, len(values)]).tolist()
            lengths = dict(size=[height, width], counts=[0, *counts] if values[0] else counts)
            annotations.append(dict(image_id=number, category_id=index + 1, segmentation=lengths))
    return _dump_coco(path, images, annotations)


def _write_panoptic(path, truth):
    """Segments of large ids; in the first image, two of one class."""
    images, annotations = [], []
    for number, (name, label) in enumerate(truth.items()):
        height, width = label.shape
        images.append(dict(id=number, file_name=f'{name}.jpg', height=height, width=width))
        ids = np.where(label == 255, 0, label.astype(int) * 70_000 + 300)
        if not number:
            ids[: height // 2][label[: height // 2] == 1] = 9
        pixels = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1)
        _write(path.with_suffix(''), {str(number): pixels})
        parts = [
            dict(id=value, category_id=1 + (1 if value == 9 else value // 70_000))
            for value in np.unique(ids).tolist()
            if value
        ]
        annotations.append(dict(image_id=number, file_name=f'{number}.png', segments_info=parts))
    return _dump_coco(path, images, annotations)


def _dump_coco(path, images, annotations):
    names = ('sky', 'grass', 'cat', 'dog')
    categories = [dict(id=index, name=name) for index, name in enumerate(names, 1)]
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return path


@pytest.mark.filterwarnings('ignore:no label has')
def test_a_second_run_evaluates_nothing(images, planted, clip_path, tmp_path):
    labels, lines = _write(tmp_path / 'labels', planted), []
    first = _evaluate(images, labels, tmp_path / 'out', clip_path)['sclip']
    before = (tmp_path / 'out/sclip/result.npz').stat().st_mtime_ns
    # Another method is added; the first is not run again.
    again = _evaluate(
        *(images, labels, tmp_path / 'out', clip_path, CLASSES, ['sclip', 'clip']),
        on_progress=lines.append,
    )
    assert (tmp_path / 'out/sclip/result.npz').stat().st_mtime_ns == before
    assert again['sclip'].mIoU == first.mIoU
    assert lines[0].startswith('[1/2] sclip: done before')
    with pytest.raises(InputError, match='was made with other settings'):
        _evaluate(images, labels, tmp_path / 'out', clip_path, 'sky; grass; cat; cow')


@pytest.mark.filterwarnings('ignore:no label has')
def test_the_command(images, planted, clip_path, tmp_path):
    (tmp_path / 'classes.txt').write_text('# mine\n' + CLASSES.replace('; ', '\n'))
    labels = _write(tmp_path / 'labels', planted)
    words = (
        '--images',
        images,
        '--labels',
        labels,
        '--classes',
        'classes.txt',
        '--clip',
        clip_path,
    )
    output = call_tool(CLI, 'evaluate', *words, '--method', 'sclip', *SMALL_WORDS, cwd=tmp_path)
    result = Result.load(tmp_path / 'evaluated/sclip/result.npz')
    assert f'| sclip | {result.mIoU:.2f} |' in output.stdout
    # The config that it prints gives the same by tools/test.py.
    words = (*words, '--method', 'sclip', '--print-config', *SMALL_WORDS)
    text = call_tool(CLI, 'evaluate', *words, cwd=tmp_path).stdout
    (tmp_path / 'printed.py').write_text(text)
    found = run_test(tmp_path / 'printed.py', '--work-dir', tmp_path / 'work', cwd=tmp_path)
    assert metrics(found.stdout)['mIoU'] == round(result.mIoU, 2)
    assert (Result.load(tmp_path / 'work/result.npz').confusion() == result.confusion()).all()


def test_all_problems_are_listed_before_weights_are_read(images, planted, tmp_path):
    labels = _write(tmp_path / 'labels', _ids(planted, 0, 1, 9, 3, 255))
    (labels / 'deep/b.png').rename(labels / 'deep/c.png')
    words = ('--images', images, '--labels', labels, '--classes', CLASSES, '--clip', 'absent.pt')
    (tmp_path / 'absent.pt').write_bytes(b'no checkpoint')
    run = call_tool(CLI, 'evaluate', *words, '--method', 'sclip', cwd=tmp_path, check=False)
    lines = run.stdout.splitlines()
    assert run.returncode == 1
    assert lines == [
        f'image {images}/deep/b.jpg has no label',
        f'label {labels}/deep/c.png has no image',
        f'label {labels}/a.png has id 9 without a class: add it to the classes or to --ignore',
        'error: 3 problems with images and labels, listed above',
    ]
    assert not (tmp_path / 'evaluated').exists()


@pytest.mark.parametrize(
    'options, said',
    [
        (dict(labels=None), r'has no JPEGImages and SegmentationClass'),
        (dict(images='absent'), 'folder of images absent does not exist'),
        (
            dict(labels='absent'),
            'folder of labels absent does not exist: --labels takes a folder or',
        ),
        (dict(labels='absent.json'), 'file of labels absent.json does not exist'),
        (dict(split='absent.txt'), 'file of names absent.txt does not exist'),
        (dict(method='sclop'), "method='sclop' is not a known method"),
        (dict(method='MyMethod'), 'your own is my_package.my_module:MyMethod'),
        (dict(method='no_module:Method'), 'module no_module does not exist on PYTHONPATH'),
        (dict(method='json:JSONDecoder'), 'is not in the registry of methods'),
        (dict(method='json:Nothing'), 'module json has no class Nothing'),
        (dict(method='my module:X'), 'must have the form my_package.my_module:MyMethod'),
        (dict(method='absent.py'), 'config absent.py does not exist'),
        (dict(classes='cat: 1'), 'write 1: cat'),
    ],
)
def test_bad_arguments(images, tmp_path, options, said):
    options = dict(dict(images=images, labels=tmp_path, method='sclip', classes=CLASSES), **options)
    method, classes = options.pop('method'), options.pop('classes')
    data = {key: value and Path(value) for key, value in options.items()}
    with pytest.raises(InputError, match=said):
        make_config(OwnImages(**data), classes, method)


@pytest.mark.parametrize('methods', [['sclip', 'sam3'], ['sam3', 'talk2dino'], ['tcl', 'groupvit']])
def test_one_checkpoint_is_of_one_kind(images, planted, clip_path, tmp_path, methods):
    data = OwnImages(images, _write(tmp_path / 'labels', _ids(planted, 0, 1, 2, 3, 255)))
    with pytest.raises(InputError, match='--clip names one checkpoint, but .* run them separately'):
        evaluate_methods(data, CLASSES, methods, clip=str(clip_path), out=tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_boundaries_and_oracles_are_counted_too(images, planted, clip_path, tmp_path):
    labels, out = _write(tmp_path / 'labels', planted), tmp_path / 'out'
    options = dict(boundary_iou=True, oracles=True)
    result = _evaluate(images, labels, out, clip_path, **options)['sclip']
    with open(out / 'results.csv', encoding='utf-8') as file:
        [row] = csv.DictReader(file)
    assert float(row['mBIoU']) == pytest.approx(result.mBIoU) and 0 < result.mBIoU < 100
    assert (
        'mBIoU' in (out / 'results.md').read_text() and 'mBIoU' in (out / 'results.tex').read_text()
    )
    known = Result.load(out / 'sclip/oracle_known-classes.npz')
    assert known.images == result.images and known.mIoU >= result.mIoU
    report = (out / 'comparison/report.html').read_text()
    assert 'mBIoU / %' in report and 'If sclip knew the classes of each image' in report


def test_annotations_count_by_their_content(images, planted, clip_path, tmp_path):
    """Two COCO files of one size are not one evaluation."""
    pytest.importorskip('pycocotools')
    found = []
    for category in ('"category_id": 1', '"category_id": 2'):
        path = _write_coco(tmp_path / 'labels.json', planted)
        path.write_text(path.read_text().replace('"category_id": 1', category))
        cfg = make_config(OwnImages(images, path), CLASSES, 'sclip', clip=clip_path)
        dataset = load_dataset(cfg.test_dataloader.dataset)
        found.append(make_fingerprint(cfg, dataset)['annotations'])
    assert found[0] != found[1]


def test_the_toy_clip_warns_about_images_that_are_not_its_drawings(tmp_path):
    toy = str(ROOT / 'data/toy/toy_clip.safetensors')
    with pytest.warns(UserWarning, match='not the drawings that the toy CLIP knows'):
        warn_of_toy(toy, [ROOT / 'data/toy/map', tmp_path])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warn_of_toy(toy, [ROOT / 'data/toy/map'])
        warn_of_toy('ViT-B/16', [tmp_path])
        warn_of_toy(None, [tmp_path])
