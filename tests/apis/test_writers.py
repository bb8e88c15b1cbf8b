"""Each format holds what was found: read back by pycocotools, and by small decoders of its own."""

import csv
import io
import json
import os
import sys
import time
import tracemalloc
import zipfile
from dataclasses import asdict
from pathlib import Path, PurePath
from unittest import mock
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from sclip_mmseg import InputError, apis
from sclip_mmseg.apis.outlines import join, trace
from sclip_mmseg.apis.run_records import RunRecords
from sclip_mmseg.apis.writers import (
    ClassInfo,
    Item,
    Record,
    Writer,
    build_writers,
    finish_all,
    write_all,
)
from sclip_mmseg.apis.writers.labelstudio import encode
from sclip_mmseg.datasets.palette import choose_palette, distinct_palette, voc_palette
from sclip_mmseg.registry import WRITERS

NAMES = ('background', 'sheep', 'cow: brown/white', 'naïve café', 'grass')
SYNONYMS = ([], ['sheep', 'lamb'], ['cow'], ['café'], ['grass'])
IDS = (0, 7, 12, 200, 30)
ALL = 'overlay,labels,masks,coco,yolo,labelstudio,confidence'
SIZES = {'a': (60, 83), 'sub/b.c': (41, 37)}


def make_labels(size, seed=0, classes=5):
    """Blobs with holes, specks and parts that touch at corners."""
    noise = np.random.default_rng(seed).random((classes, *size)).astype(np.float32)
    smooth = np.stack([cv2.blur(layer, (9, 9)) + layer / 30 for layer in noise])
    return smooth.argmax(0)


def make_result(size, names=NAMES, ids=IDS, **kwargs):
    labels = make_labels(size, classes=len(names))
    scores = np.random.default_rng(1).random((len(names), *size), dtype=np.float32)
    palette = distinct_palette(names)
    return apis.Segmentation(labels, scores, names, palette, ids, **kwargs)


def write(out, formats, names=NAMES, ids=IDS, **options):
    """Write two images; gives the results by the names of the images."""
    writers = build_writers(formats, options)
    records, results = [], {}
    for name, size in SIZES.items():
        result = make_result(size, names, ids, synonyms=SYNONYMS)
        image = np.full((*size, 3), 120, np.uint8)
        item = Item(Path('in', f'{name}.jpg'), PurePath(name), out, image, result)
        records.append(write_all(writers, item))
        results[name] = result
    # As a run stores them that may be killed.
    stored = [Record(**json.loads(json.dumps(asdict(record)))) for record in records]
    finish_all(writers, stored, result.classes, out)
    return results


def painted(result):
    return {each.name: mask for each, mask in result.painted()}


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_all_files_have_their_names(tmp_path):
    write(tmp_path, f'{ALL}')
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('*.*')}
    found = {name for name in found if '_masks/' not in name and not name.endswith('_masks')}
    ends = '_overlay.jpg', '_labels.png', '_confidence.png'
    assert found == {
        *(f'{name}{end}' for name in SIZES for end in ends),
        *('areas.csv', 'classes.json', 'coco.json', 'confidence.csv'),
        *('labelstudio.json', 'labelstudio.xml', 'yolo/data.yaml'),
        *(f'yolo/labels/{name}.txt' for name in SIZES),
    }


def test_labels_and_their_classes(tmp_path):
    results = write(tmp_path, 'labels')
    classes = json.loads((tmp_path / 'classes.json').read_text(encoding='utf-8'))
    assert [each['id'] for each in classes] == list(IDS)
    assert [each['name'] for each in classes] == list(NAMES)
    assert [each['synonyms'] for each in classes] == list(SYNONYMS)
    for name, result in results.items():
        image = Image.open(tmp_path / f'{name}_labels.png')
        ids, colors = np.asarray(image), np.asarray(image.convert('RGB'))
        for each in classes:
            here = ids == each['id']
            assert (here == (result.labels == IDS.index(each['id']))).all()
            assert (colors[here] == each['color']).all()


@pytest.mark.parametrize('per', ['class', 'component'])
@pytest.mark.parametrize('polygons', [False, True])
def test_coco(tmp_path, per, polygons):
    coco = pytest.importorskip('pycocotools.coco')
    results = write(tmp_path, 'coco', **{'coco.per': per, 'coco.polygons': polygons})
    read = coco.COCO(str(tmp_path / 'coco.json'))
    assert [each['name'] for each in read.loadCats(read.getCatIds())] == list(NAMES[1:])
    images = read.loadImgs(read.getImgIds())
    assert [each['file_name'] for each in images] == ['a.jpg', 'sub/b.c.jpg']
    for image, result in zip(images, results.values()):
        assert (image['height'], image['width']) == result.labels.shape
        for each in result.classes[1:]:
            found = read.loadAnns(read.getAnnIds(image['id'], each.id))
            masks = [read.annToMask(annotation) for annotation in found]
            expected = result.masks()[each.name]
            count = cv2.connectedComponents(expected.astype(np.uint8), connectivity=8)[0] - 1
            assert len(found) == (count if per == 'component' else 1)
            assert (sum(masks) == expected).all()
            assert sum(annotation['area'] for annotation in found) == expected.sum()
            assert all(isinstance(each['segmentation'], list) == polygons for each in found)


@pytest.mark.parametrize('per', ['class', 'component'])
def test_run_lengths_at_all_borders(per):
    coco = pytest.importorskip('pycocotools.mask')
    for y, x, height, width in [
        (0, 0, 3, 4),
        (0, 0, 5, 6),
        (2, 3, 3, 3),
        (0, 5, 5, 1),
        (4, 0, 1, 2),
    ]:
        labels = np.zeros((5, 6), np.int64)
        labels[y : y + height, x : x + width] = 1
        result = apis.Segmentation(labels, None, ('background', 'a'), [[0, 0, 0], [1, 1, 1]])
        [annotation] = result.to_coco(per=per)['annotations']
        assert annotation['segmentation'] == {
            'size': [5, 6],
            'counts': coco.encode(np.asfortranarray(labels, np.uint8))['counts'].decode(),
        }
        assert annotation['bbox'] == [x, y, width, height]


def test_coco_has_no_category_0():
    """Datumaro, and so CVAT, reads category 0 as no class."""
    result = make_result((30, 40), ids=None)
    result.class_names = ('one', *NAMES[1:])
    content = result.to_coco()
    assert [each['id'] for each in content['categories']] == [1, 2, 3, 4, 5]
    found = {each['category_id'] - 1: each['area'] for each in content['annotations']}
    assert found == dict(enumerate(result.counts))


def test_coco_of_one_segmentation():
    coco = pytest.importorskip('pycocotools.mask')
    result = make_result((30, 40))
    content = json.loads(json.dumps(result.to_coco('x.jpg')))
    assert content['images'] == [dict(id=1, file_name='x.jpg', width=40, height=30)]
    for annotation in content['annotations']:
        [name] = [c['name'] for c in content['categories'] if c['id'] == annotation['category_id']]
        assert (coco.decode(annotation['segmentation']) == result.masks()[name]).all()
        assert coco.toBbox(annotation['segmentation']).tolist() == annotation['bbox']


@pytest.mark.parametrize('convert', [np.trunc, np.round])
def test_yolo(tmp_path, convert):
    results = write(tmp_path, 'yolo')
    names = yaml.safe_load((tmp_path / 'yolo/data.yaml').read_text(encoding='utf-8'))['names']
    assert list(names.items()) == list(enumerate(NAMES[1:]))
    for name, result in results.items():
        height, width = result.labels.shape
        found = {each: np.zeros((height, width), np.uint8) for each in names.values()}
        for line in (tmp_path / f'yolo/labels/{name}.txt').read_text().splitlines():
            number, *values = line.split()
            points = np.array(values, float).reshape(-1, 2)
            assert len(points) >= 3 and 0 <= points.min() and points.max() <= 1
            filled = np.zeros((height, width), np.uint8)
            cv2.fillPoly(filled, [convert(points * (width, height)).astype(np.int32)], 1)
            found[names[int(number)]] |= filled
        for each, mask in painted(result).items():
            assert iou(found[each] > 0, mask) >= 0.99


def test_cvat(tmp_path):
    names = ('background', 'sheep', 'cow', 'café', 'grass')
    write(tmp_path, 'cvat', names)
    before = (tmp_path / 'cvat.zip').read_bytes()
    with mock.patch('time.localtime', return_value=time.gmtime(10**9)):
        results = write(tmp_path, 'cvat', names)
    assert (tmp_path / 'cvat.zip').read_bytes() == before
    with zipfile.ZipFile(tmp_path / 'cvat.zip') as archive:
        assert archive.read('ImageSets/Segmentation/default.txt').split() == [b'a', b'sub/b.c']
        lines = archive.read('labelmap.txt').decode().splitlines()[1:]
        colors = {line.split(':')[0]: line.split(':')[1] for line in lines}
        assert list(colors) == list(names) and colors['background'] == '0,0,0'
        for name, result in results.items():
            classes, objects = (
                np.asarray(Image.open(io.BytesIO(archive.read(f'Segmentation{kind}/{name}.png'))))
                for kind in ('Class', 'Object')
            )
            for each, mask in result.masks().items():
                color = np.array(list(map(int, colors[each].split(','))))
                assert ((classes == color).all(-1) == mask).all()
                [instance] = np.unique(objects[mask], axis=0)
                assert ((objects == instance).all(-1) == mask).all()


def test_cvat_without_a_background(tmp_path):
    names = ('one', 'sheep', 'cow', 'café', 'grass')
    write(tmp_path, 'cvat', names, None)
    with zipfile.ZipFile(tmp_path / 'cvat.zip') as archive:
        lines = archive.read('labelmap.txt').decode().splitlines()
    assert lines[1] == 'background:0,0,0::' and len(lines) == 7


def test_classes_that_cvat_cannot_name():
    writer = build_writers('cvat')['cvat']
    with pytest.raises(InputError, match="format cvat cannot name class 'cow: brown/white'"):
        writer.check(make_result((5, 5)).classes)


def unpack(values):
    """Label Studio's run lengths, read bit by bit as its page does."""
    bits = ''.join(f'{value:08b}' for value in values)
    at = 0

    def read(count):
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    out = []
    while len(out) < total:
        repeated, length = read(1), read(sizes[read(2)]) + 1
        out += [read(word)] * length if repeated else [read(word) for _ in range(length)]
    return np.array(out, np.uint8)


def test_labelstudio(tmp_path):
    results = write(tmp_path, 'labelstudio')
    tasks = json.loads((tmp_path / 'labelstudio.json').read_text())
    root = '/data/local-files/?d='
    assert [task['data']['image'] for task in tasks] == [f'{root}a.jpg', f'{root}sub/b.c.jpg']
    interface = ElementTree.parse(tmp_path / 'labelstudio.xml').getroot()
    brush, image = interface.find('BrushLabels'), interface.find('Image')
    assert [each.get('value') for each in brush] == list(NAMES[1:])
    for task, result in zip(tasks, results.values()):
        [prediction] = task['predictions']
        found = {}
        for region in prediction['result']:
            assert (region['from_name'], region['to_name']) == (
                brush.get('name'),
                image.get('name'),
            )
            size = region['original_height'], region['original_width'], 4
            pixels = unpack(region['value']['rle']).reshape(size)
            assert (pixels == pixels[..., :1]).all()
            found[region['value']['brushlabels'][0]] = pixels[..., 3] == 255
        assert found.keys() == painted(result).keys()
        assert all((found[name] == mask).all() for name, mask in painted(result).items())


def test_long_runs_of_labelstudio():
    mask = np.zeros((300, 300), bool)
    mask[200:, 7:] = True
    for each in (mask, ~mask, np.ones((1, 1), bool), np.zeros((2, 1), bool)):
        assert (unpack(encode(each))[::4].reshape(each.shape) == 255 * each).all()


def test_masks(tmp_path):
    results = write(tmp_path, 'masks')
    write(tmp_path, 'masks')
    for name, result in results.items():
        files = {path.name: path for path in Path(tmp_path, f'{name}_masks').iterdir()}
        for each in result.classes:
            [path] = [path for file, path in files.items() if file.startswith(f'{each.id}_')]
            assert (np.asarray(Image.open(path)) == 255 * result.masks()[each.name]).all()
    assert '12_cow_brown_white.png' in files and '200_naïve_café.png' in files


def test_names_that_are_not_utf8(tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, os.fsdecode(b'c\xe9'), (20, 30))
    names = ('background', 'sheep', 'cow', 'café', 'grass')
    write(tmp_path, f'{ALL},cvat', names)
    with zipfile.ZipFile(tmp_path / 'cvat.zip') as archive:
        assert r'SegmentationClass/c\udce9.png' in archive.namelist()
    assert json.loads((tmp_path / 'labelstudio.json').read_text())[2]['data']['image'].endswith(
        '?d=c%E9.jpg'
    )


def test_masks_of_an_earlier_run_go(tmp_path):
    (tmp_path / 'a_masks').mkdir()
    (tmp_path / 'a_masks/7_sheep.png').touch()
    (tmp_path / 'a_masks/mine.png').touch()
    result = make_result(SIZES['a'])
    result.labels[:] = 0
    item = Item(Path('a.jpg'), PurePath('a'), tmp_path, np.zeros((60, 83, 3), np.uint8), result)
    write_all(build_writers('masks'), item)
    assert sorted(path.name for path in (tmp_path / 'a_masks').iterdir()) == [
        '0_background.png',
        'mine.png',
    ]


def test_confidence(tmp_path):
    results = write(tmp_path, 'confidence', **{'confidence.threshold': 0.8})
    with open(tmp_path / 'confidence.csv', newline='') as file:
        header, *rows = csv.reader(file)
    assert header == ['file', 'mean', 'share below 0.8']
    shares = [float(row[2]) for row in rows]
    assert shares == sorted(shares, reverse=True)
    for name, result in results.items():
        [row] = [row for row in rows if row[0] == f'in/{name}.jpg']
        assert (result.confidence == result.scores.max(0)).all()
        assert float(row[1]) == pytest.approx(result.confidence.mean(), abs=1e-5)
        assert float(row[2]) == pytest.approx((result.confidence < 0.8).mean(), abs=1e-5)
        image = np.asarray(Image.open(tmp_path / f'{name}_confidence.png'))
        assert np.abs(image / 255 - result.confidence).max() < 0.002 + 1e-6
    result.scores = None
    with pytest.raises(InputError, match='has no scores: .*seg_logits'):
        result.confidence  # noqa: B018


def test_areas_have_ids(tmp_path):
    results = write(tmp_path, 'labels')
    with open(tmp_path / 'areas.csv', newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ['file', 'class', 'pixels', 'share', 'id']
    for row in rows:
        assert int(row['id']) == IDS[NAMES.index(row['class'])]
    for name, result in results.items():
        mine = {row['class']: int(row['pixels']) for row in rows if row['file'] == f'in/{name}.jpg'}
        assert mine == result.pixels


def fill(parts, size):
    filled = np.zeros(size, np.uint8)
    for rings in parts:
        cv2.fillPoly(filled, [ring.astype(np.int32) for ring in rings], 1)
    return filled


@pytest.mark.parametrize('seed', range(6))
def test_outlines(seed):
    """Polygons have the area of their pixels, holes taken off, and are filled as the mask is."""
    rng = np.random.default_rng(seed)
    noise = cv2.blur(rng.random((23, 31)).astype(np.float32), (1 + seed, 1 + seed))
    mask = noise > np.median(noise)

    def area(ring):
        (x, y), (following, below) = ring.T, np.roll(ring, -1, axis=0).T
        return abs((x * below - y * following).sum()) / 2

    parts = trace(mask)
    found = sum(area(rings[0]) - sum(map(area, rings[1:])) for rings in parts)
    assert found == pytest.approx(mask.sum(), rel=0.01)
    assert sum(area(join(rings)) for rings in parts) == pytest.approx(found)
    assert (fill(parts, mask.shape) == mask).all()
    assert (fill(trace(mask, edges=False), mask.shape) == mask).all()


def test_polygons_of_a_ring():
    labels = np.zeros((6, 7), np.int64)
    labels[1:5, 1:6] = 1
    labels[2:4, 2:4] = 0
    result = apis.Segmentation(labels, None, ('background', 'cat'), [[0, 0, 0], [9, 9, 9]])
    [[outline, hole]] = result.polygons()['cat']
    assert np.unique(outline.round(2), axis=0).tolist() == [[1, 1], [1, 5], [6, 1], [6, 5]]
    assert np.unique(hole.round(2), axis=0).tolist() == [[2, 2], [2, 4], [4, 2], [4, 4]]


@pytest.mark.parametrize(
    'formats, options, said',
    [
        ('overlay,coko', {}, r"format 'coko' does not exist \(did you mean 'coco'\?\)"),
        ('', {}, "format '' does not exist: choose from areas, coco, "),
        ('overlay,', {}, "format '' does not exist"),
        ([{'type': 'overlay', 'legends': 'none'}], {}, r"no option 'legends' \(did you mean 'leg"),
        ('masks', {'masks.x': 1}, "format masks has no option 'x': it has none"),
        ('masks', {'coco.per': 'class'}, "option 'coco.per' belongs to none of the formats masks"),
        ('coco', {'coco.per': 'pixel'}, "per='pixel' is not one of class, component"),
        ('overlay', {'overlay.legend': 'left'}, "legend='left' is not one of beside, below"),
        ('overlay', {'overlay.opacity': 2}, 'opacity=2 must be from 0 to 1'),
        ('overlay', {'overlay.opacity': 'half'}, "opacity='half' must be a number"),
        ('overlay', {'overlay.names': 'no'}, "names='no' must be True or False"),
        ('confidence', {'confidence.threshold': 50}, 'threshold=50 must be from 0 to 1'),
        ('confidence', {'confidence.threshold': True}, 'threshold=True must be from 0 to 1'),
        ('absent_module:mine', {}, 'module absent_module does not exist'),
        (None, {}, r"formats must be as in 'overlay,coco' or \['overlay', dict\(type='coco'\)\]"),
        (['overlay', None], {}, 'formats must be as in'),
        (b'overlay', {}, 'formats must be as in'),
        ({'coco': {}}, {}, 'formats must be as in'),
        ('coco', {'coco.polygons': 'no'}, "polygons='no' must be True or False"),
    ],
)
def test_formats_that_do_not_exist(formats, options, said):
    with pytest.raises(InputError, match=said):
        build_writers(formats, options)


def test_a_custom_writer(tmp_path, monkeypatch):
    (tmp_path / 'my_writer.py').write_text(
        'from sclip_mmseg.apis.writers import Writer\n'
        'from sclip_mmseg.registry import WRITERS\n'
        "@WRITERS.register_module('mine')\n"
        'class Sizes(Writer):\n'
        "    run_files = ('sizes.txt',)\n"
        '    def __init__(self, sep): self.sep = sep\n'
        '    def write(self, item): return item.name.name\n'
        '    def finish(self, records, classes, out):\n'
        '        names = self.sep.join(name for _, name in records)\n'
        "        (out / 'sizes.txt').write_text(names)\n"
    )
    monkeypatch.chdir(tmp_path)
    try:
        write(tmp_path / 'out', 'labels,my_writer:mine', **{'mine.sep': '+'})
    finally:
        WRITERS.module_dict.pop('mine', None)
        sys.modules.pop('my_writer', None)
    assert (tmp_path / 'out/sizes.txt').read_text() == 'a+b.c'


def test_what_a_writer_need_not_do():
    writer = Writer()
    assert writer.write(None) is None and writer.finish([], [], None) is None


def test_save(tmp_path):
    result = make_result((60, 83), image=np.full((60, 83, 3), 120, np.uint8), path='in/x.jpg')
    result.save(tmp_path, ALL)
    result.save(tmp_path, ['labels', dict(type='overlay', legend='none')], name='sub/y')
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('*.*')}
    assert {'x_overlay.jpg', 'x_labels.png', 'coco.json', 'yolo/labels/x.txt'} < names
    assert {'sub/y_overlay.jpg', 'sub/y_labels.png'} < names
    assert Image.open(tmp_path / 'sub/y_overlay.jpg').size == (83, 60)
    (tmp_path / 'z_overlay.jpg').touch()
    result.path = str(tmp_path / 'z_overlay.jpg')
    with pytest.raises(InputError, match='overwrite the input'):
        result.save(tmp_path, name='z')
    result.image = None
    with pytest.raises(InputError, match='has no image: set'):
        result.save(tmp_path)


def test_what_is_found_in_a_file_can_be_saved(clip_path, voc_root, tmp_path):
    """All formats of a run are written, also with a video among its inputs."""
    small = {'model.test_cfg.crop_size': 112, 'model.test_cfg.stride': 56}
    options = dict(clip=clip_path, device='cpu', cfg_options=small)
    (tmp_path / 'in').mkdir()
    image_path = tmp_path / 'in/p.png'
    image_path.write_bytes((voc_root / 'VOCdevkit/VOC2012/JPEGImages/image_0.jpg').read_bytes())
    writer = cv2.VideoWriter(
        str(tmp_path / 'in/v.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 5, (112, 80)
    )
    writer.write(np.zeros((80, 112, 3), np.uint8))
    writer.release()
    said = []
    formats = f'{ALL},cvat'.replace('overlay,', '')
    options_of_formats = {'coco.per': 'component'}
    classes = 'sky, clouds; grass'
    results = apis.segment_files(
        *(tmp_path / 'in', classes),
        out=tmp_path / 'out',
        formats=formats,
        format_options=options_of_formats,
        on_progress=said.append,
        **options,
    )
    assert [result.overlay for result in results] == [None, None]
    assert (tmp_path / 'out/v_labels/000000.png').is_file()
    assert said[0].startswith('for videos, masks, coco, yolo, labelstudio, confidence, cvat are')
    content = json.loads((tmp_path / 'out/coco.json').read_text())
    assert [each['file_name'] for each in content['images']] == ['p.png']
    assert not list(tmp_path.glob('out/*_overlay*'))
    before = sorted((tmp_path / 'in').iterdir())
    found = apis.segment(apis.build_segmentor(classes, **options), image_path)
    found.save(tmp_path / 'saved', formats)
    labels = [Image.open(tmp_path / f'{folder}/p_labels.png') for folder in ('out', 'saved')]
    assert (np.asarray(labels[0]) == np.asarray(labels[1])).all()
    assert found.classes[0].synonyms == ['sky', 'clouds']
    assert sorted((tmp_path / 'in').iterdir()) == before


@pytest.mark.parametrize('device', ['cuda', 'cuda:99', 'gpu', 'meow', 3.5])
def test_devices_that_are_not_there(device):
    if device == 'cuda' and torch.cuda.is_available():
        pytest.skip('there is CUDA')
    with pytest.raises(InputError, match=f"device='{device}' .* cannot be used .*: use 'cpu'") as e:
        apis.build_segmentor('cat; dog', clip='absent.pt', device=device)
    assert '\n' not in str(e.value)
    with pytest.raises(InputError, match=f"device='{device}'"):
        apis.segment_files('absent.jpg', 'cat; dog', device=device)


def test_palettes():
    assert choose_palette('distinct', NAMES) == choose_palette('dataset', NAMES)
    assert choose_palette('voc', NAMES) == voc_palette(5)
    assert choose_palette('voc', NAMES[1:]) == voc_palette(5)[1:]
    assert choose_palette('dataset', ['a'], ((1, 2, 3),)) == [[1, 2, 3]]
    for colors in ('#ff8000, red', ['#ff8000', (255, 0, 0)]):
        assert choose_palette(colors, ['a', 'b']) == [[255, 128, 0], [255, 0, 0]]
    for wrong in ('#ff8000', 'vocs', '#ff8000,#12', [[1, 2, 300]] * 2, [[[1], 2, 3]] * 2, 7, ['x']):
        with pytest.raises(InputError, match='2 colours such as'):
            choose_palette(wrong, ['a', 'b'])


@pytest.mark.parametrize('name', ['coco', 'cvat', 'labelstudio', 'areas'])
def test_records_are_not_held_in_memory(tmp_path, name):
    """Each record is read and written on its own, so that memory does not grow with the folder."""
    rle = dict(category_id=1, segmentation=dict(size=[9, 9], counts='1' * 300_000))
    heavy = dict(coco=[rle], cvat=['A' * 300_000] * 2, labelstudio=[dict(rle='1' * 300_000)])
    records = RunRecords(tmp_path, dict(some='settings'))
    writers = {name: build_writers(name)[name]}
    tracemalloc.start()
    for number in range(20):
        found = {name: heavy.get(name), 'another': 'A' * 300_000}
        record = Record(f'{number}.png', f'{number}.png', (9, 9), [41, 40], found)
        records.add(tmp_path / record.file, PurePath(record.file), record)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    classes = [ClassInfo(0, 'a', ['a'], (1, 2, 3)), ClassInfo(1, 'b', ['b'], (4, 5, 6))]
    finish_all(writers, records.in_order([]), classes, tmp_path)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < 5_000_000  # all are at least 6 MB
    assert (tmp_path / writers[name].run_files[0]).is_file()
