"""Each kind of label that FolderDataset reads, with the same ground truth."""

import json
import pickle
import time

import numpy as np
import pytest
from mmseg.registry import DATASETS
from PIL import Image

from sclip_mmseg import InputError
from sclip_mmseg.datasets import FolderDataset, voc_palette
from sclip_mmseg.datasets.checks import CheckedPipeline, check_files, check_labels, load_dataset
from sclip_mmseg.datasets.folder import find_problems
from sclip_mmseg.datasets.folder.color_table import read_color_table
from sclip_mmseg.datasets.folder.layout import OwnImages
from sclip_mmseg.datasets.folder.pairing import pair_files
from sclip_mmseg.registry import in_scope

IGNORED = 255
TRUTH = np.array([[0, 0, 1, 1], [0, 2, 2, 1], [IGNORED, 2, 2, 1]])  # classes
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 6), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
CLASSES = 'cat, kitten; dog; sky'
COLORS = {0: (255, 0, 0), 1: (0, 255, 0), 2: (0, 0, 255), IGNORED: (9, 9, 9)}
TABLE = 'Kitten: 255,0,0\n# nothing\ndog: 0,255,0\nsky: 0,0,255\nunlabelled: 9,9,9\n'
CVAT = """# label:color_rgb:parts:actions
cat:255,0,0::
dog:0,255,0::
sky:0,0,255::
unlabelled:9,9,9::
"""
CATEGORIES = [dict(id=5, name='cat'), dict(id=1, name='Dog'), dict(id=90, name='sky')]


@pytest.fixture
def folder(tmp_path):
    """Two images, one of them in a subfolder."""
    for name in ('a', 'deep/b'):
        path = tmp_path / f'images/{name}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', TRUTH.shape[::-1]).save(path)
    return tmp_path


def _write(folder, pixels, suffix='.png', names=('a', 'deep/b'), **kwargs):
    for name in names:
        path = folder / f'labels/{name}{suffix}'
        path.parent.mkdir(parents=True, exist_ok=True)
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        image.save(path, **kwargs)


def _dataset(folder, **kwargs):
    prefix = dict(img_path=str(folder / 'images'), seg_map_path=str(folder / 'labels'))
    if kwargs.get('ann_file', '').endswith('.json'):
        del prefix['seg_map_path']
    arguments = {'classes': CLASSES, 'data_prefix': prefix, 'pipeline': PIPELINE, **kwargs}
    with in_scope():
        return load_dataset(dict(arguments, type='FolderDataset'))


def _check(dataset, truth=TRUTH, ignored=IGNORED):
    """All kinds of labels give the ground truth, and the checks find no problems."""
    check_files(dataset)
    check_labels(dataset)
    assert find_problems(dataset).problems == []
    assert len(dataset) == 2
    for pipeline in (dataset.pipeline, CheckedPipeline(dataset)):
        sample = pipeline(dataset.get_data_info(1))['data_samples']
        found = sample.gt_sem_seg.data[0].numpy()
        assert (found == np.where(truth == IGNORED, ignored, truth)).all()


def _ids(*stored):
    """The ground truth with other ids for three classes and ignored pixels."""
    return np.select([TRUTH == index for index in (0, 1, 2, IGNORED)], stored)


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.tiff', '.bmp'])
def test_ids_of_8_bits(folder, suffix):
    _write(folder, TRUTH.astype(np.uint8), suffix)
    _check(_dataset(folder))


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
@pytest.mark.parametrize('ignored', [65535, 255, 0])
def test_ids_of_16_bits(folder, suffix, ignored):
    _write(folder, _ids(7, 300, 65534, ignored).astype(np.uint16), suffix)
    _check(_dataset(folder, classes='7: cat; 300: dog; 65534: sky', ignored=ignored))


def test_more_than_255_classes(folder):
    classes = [f'thing {index}' for index in range(300)]
    truth = np.where(TRUTH == 1, 255, np.where(TRUTH == IGNORED, 65535, TRUTH))
    _write(folder, truth.astype(np.uint16))
    dataset = _dataset(folder, classes=classes, ignored=65535)
    assert dataset.ignore_index == 65535
    check_labels(dataset, {65535})
    found = dataset[0]['data_samples'].gt_sem_seg.data[0].numpy()
    assert (found == truth).all()


def test_a_palette(folder):
    image = Image.fromarray(TRUTH.astype(np.uint8)).convert('P')
    image.putdata(TRUTH.flatten().tolist())
    image.putpalette(np.ravel(voc_palette(256)).tolist())
    _write(folder, image)
    _check(_dataset(folder))
    # The same files as masks of colours.
    (folder / 'table.txt').write_text('cat: 0,0,0\ndog: 128,0,0\nsky: 0,128,0\nborder: 224,224,192')
    _check(_dataset(folder, colors=str(folder / 'table.txt'), ignored='border'))


@pytest.mark.parametrize('text', [TABLE, CVAT])
@pytest.mark.parametrize('mode', ['RGB', 'RGBA'])
def test_masks_of_colours(folder, text, mode):
    pixels = np.array([[COLORS[each] for each in row] for row in TRUTH.tolist()], np.uint8)
    _write(folder, Image.fromarray(pixels).convert(mode))
    (folder / 'labelmap.txt').write_text(text)
    _check(_dataset(folder, colors=str(folder / 'labelmap.txt'), ignored='unlabelled'))
    problems = find_problems(_dataset(folder, colors=str(folder / 'labelmap.txt'))).problems
    unknown = "colour 9,9,9 ('unlabelled') without a class: add it to the classes or to --ignore"
    assert [line.partition(' has ')[2] for line in problems] == [unknown] * 2
    Image.new('RGB', (4, 3), (1, 2, 3)).save(folder / 'labels/deep/b.png')
    [line] = find_problems(_dataset(folder)).problems  # without a table: it asks for one, once
    assert line.startswith(f'colours instead of ids in {folder}/labels/a.png and 1 more (')
    assert '0,0,255; 0,255,0; 255,0,0; 9,9,9; 1,2,3)' in line and 'by --colors' in line


def test_colours_name_the_classes(folder):
    pixels = np.array([[COLORS[each] for each in row] for row in TRUTH.tolist()], np.uint8)
    _write(folder, pixels)
    (folder / 'labelmap.txt').write_text(
        'background:9,9,9::\ncat:255,0,0::\ndog:0,255,0::\nsky:0,0,255::'
    )
    dataset = _dataset(folder, classes=None, background=True, colors=str(folder / 'labelmap.txt'))
    assert dataset.metainfo['classes'] == ('background', 'cat', 'dog', 'sky')
    _check(dataset, np.where(TRUTH == IGNORED, 0, TRUTH + 1))


@pytest.mark.parametrize(
    'text, said',
    [
        ('road\n', "line 1 is 'road', expected a name"),
        ('road: 1,2\n', 'line 1 is'),
        ('road: 1,2,300\n', 'of 0 to 255'),
        ('a: 1,2,3\nb: 1,2,3\n', 'line 2 has 1,2,3 again'),
        ('a: 1,2,3\na: 1,2,4\n', "line 2 has 'a' again"),
        ('# none\n', 'has no colour'),
    ],
)
def test_tables_that_are_none(tmp_path, text, said):
    (tmp_path / 'table').write_text(text)
    with pytest.raises(InputError, match=said):
        read_color_table(tmp_path / 'table')


def _square(x, y, width, height):
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def _coco(folder, annotations, name='instances.json', **kwargs):
    height, width = TRUTH.shape
    images = [
        dict(id=number, file_name=file, width=width, height=height)
        for number, file in enumerate(('a.jpg', 'somewhere/b.jpg'))
    ]
    annotations = [
        dict(each, image_id=number, id=10 * number + index)
        for number in (0, 1)
        for index, each in enumerate(annotations)
    ]
    content = dict(images=images, annotations=annotations, categories=CATEGORIES, **kwargs)
    (folder / name).write_text(json.dumps(content))
    return str(folder / name)


def _lengths(inside):
    """Uncompressed run lengths, column by column, zeros first."""
    values = inside.flatten(order='F')
    edges = np.flatnonzero(np.diff(values)) + 1
    counts = np.diff([0, *edges, len(values)]).tolist()
    return dict(size=list(inside.shape), counts=[0, *counts] if values[0] else counts)


def test_instances_of_coco(folder):
    pytest.importorskip('pycocotools')
    from pycocotools import mask

    sky = mask.encode(np.asfortranarray((TRUTH == 2).astype(np.uint8)))
    sky['counts'] = sky['counts'].decode()
    annotations = [
        dict(category_id=1, iscrowd=0, segmentation=_square(0, 0, 4, 2)),  # behind the cat
        dict(category_id=1, iscrowd=1, segmentation=_lengths(TRUTH == 1)),
        dict(category_id=5, iscrowd=0, segmentation=_square(0, 0, 2, 1) + _square(0, 1, 1, 1)),
        dict(category_id=90, iscrowd=0, segmentation=sky),
    ]
    file = _coco(folder, annotations)
    dataset = _dataset(folder, ann_file=file)
    _check(dataset)
    _check(_dataset(folder, ann_file=file, classes='1: dog; 5: cat; 90: sky'), _swap(TRUTH))
    _check(_dataset(folder, ann_file=file, classes=None))
    _check(_dataset(folder, ann_file=file, background=True), np.where(TRUTH == 255, 0, TRUTH + 1))
    _check(
        _dataset(folder, ann_file=file, classes='cat; dog', ignored='sky'),
        np.where(TRUTH == 2, 255, TRUTH),
    )
    missing = find_problems(_dataset(folder, ann_file=file, classes='cat; dog')).problems
    assert len(missing) == 2 and "has category 90 ('sky') without a class" in missing[0]
    assert pickle.loads(pickle.dumps(dataset.reader)) == dataset.reader
    with pytest.raises(InputError, match='no category of the COCO file .* 5: cat, 1: Dog, 90: sky'):
        _dataset(folder, ann_file=file, classes='tree; sea')


def _swap(truth):
    return np.select([truth == 0, truth == 1], [1, 0], truth)


def test_panoptic_segments_of_coco(folder):
    (folder / 'panoptic').mkdir()
    segments = _ids(70000, 3, 256, 0)
    pixels = np.stack([segments & 255, segments >> 8 & 255, segments >> 16], -1).astype(np.uint8)
    for number in (0, 1):
        Image.fromarray(pixels).save(folder / f'panoptic/{number}.png')
    parts = [dict(id=70000, category_id=5), dict(id=3, category_id=1), dict(id=256, category_id=90)]
    file = _coco(folder, [], 'panoptic.json')
    content = json.loads((folder / 'panoptic.json').read_text())
    content['annotations'] = [
        dict(image_id=number, file_name=f'{number}.png', segments_info=parts) for number in (0, 1)
    ]
    (folder / 'panoptic.json').write_text(json.dumps(content))
    time.sleep(0.01)
    _check(_dataset(folder, ann_file=file))
    _check(_dataset(folder, ann_file=file, background=True), np.where(TRUTH == 255, 0, TRUTH + 1))
    (folder / 'panoptic/1.png').unlink()
    assert 'has no label: no file' in _dataset(folder, ann_file=file).problems[0]


def test_coco_problems_are_named(folder):
    for text, said in (('{', 'is not JSON'), ('[]', 'is not a COCO file'), ('{}', 'categories')):
        (folder / 'labels.json').write_text(text)
        with pytest.raises(InputError, match=said):
            _dataset(folder, ann_file=str(folder / 'labels.json'))
    file = _coco(folder, [dict(category_id=5, segmentation='no')])
    Image.new('RGB', (9, 9)).save(folder / 'images/c.png')
    Image.new('RGB', (9, 9)).save(folder / 'images/a.jpg')
    problems = find_problems(_dataset(folder, ann_file=file)).problems
    assert f'image {folder}/images/c.png has no label in {file}' in problems
    assert any('is neither polygons nor run lengths' in line for line in problems)


def test_the_layout_of_voc(folder):
    root = folder / 'VOC'
    for path in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (root / path).mkdir(parents=True)
    for name in 'xyz':
        Image.new('RGB', TRUTH.shape[::-1]).save(root / f'JPEGImages/{name}.jpg')
    for name in 'xy':
        Image.fromarray(TRUTH.astype(np.uint8)).save(root / f'SegmentationClass/{name}.png')
    (root / 'ImageSets/Segmentation/val.txt').write_text('x\ny\n')
    dataset = _dataset(
        folder,
        data_root=str(root),
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        ann_file='ImageSets/Segmentation/val.txt',
    )
    _check(dataset)


def test_all_problems_at_once(folder):
    _write(folder, TRUTH.astype(np.uint8))
    for name, size in (('c', (3, 3)), ('without', (4, 3)), ('d', (4, 3)), ('e', (4, 3))):
        Image.new('RGB', size).save(folder / f'images/{name}.png')
    _write(folder, TRUTH.astype(np.uint8), names=['c', 'lost'])
    _write(folder, _ids(0, 1, 9, 10).astype(np.uint8), names=['d'])
    (folder / 'labels/e.png').write_bytes(b'no image')
    dataset = _dataset(folder)
    found = [line.replace(f'{folder}/', '') for line in find_problems(dataset, 2).problems]
    assert found == [
        'image images/without.png has no label',
        'label labels/lost.png has no image',
        'label labels/c.png is 4×3 pixels, its image images/c.png is 3×3',
        'label labels/d.png has id 9, id 10 without a class: add it to the classes or to --ignore',
        "label labels/e.png cannot be read: cannot identify image file 'labels/e.png'",
    ]
    with pytest.raises(InputError, match=r'has no label \(and 1 more: sclip data check'):
        check_files(dataset)


def test_a_turned_image(folder):
    _write(folder, TRUTH.astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', TRUTH.shape[::-1]).save(folder / 'images/a.jpg', exif=exif)
    [problem] = find_problems(_dataset(folder)).problems
    assert 'has EXIF orientation 6' in problem


def test_an_image_that_is_too_large(folder, monkeypatch):
    _write(folder, TRUTH.astype(np.uint8))
    Image.new('RGB', (3000, 1000)).save(folder / 'images/a.jpg')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1_000_000)
    [line] = find_problems(_dataset(folder)).problems
    message = 'has more than 2 million pixels: cut it into parts, and its labels too'
    assert line == f'image {folder}/images/a.jpg {message}'


@pytest.mark.parametrize(
    'options, said',
    [
        (dict(classes=None), 'name them by --classes'),
        (dict(ignored=1), "id 1 is to be ignored, but it is that of the class 'dog'"),
        (dict(ignored='sky'), "ignored='sky' is not an id"),
        (
            dict(data_prefix=dict(img_path='absent', seg_map_path='x')),
            'folder of images .* does not',
        ),
        (dict(data_prefix=dict(img_path='.')), 'needs data_prefix.img_path and seg_map_path'),
        (dict(ann_file='absent.txt'), 'file of names .* does not exist'),
        (dict(ann_file='absent.json'), 'cannot be read'),
        (dict(colors='absent'), 'cannot be read as a table of colours'),
    ],
)
def test_bad_arguments(folder, options, said):
    _write(folder, TRUTH.astype(np.uint8))
    with pytest.raises(InputError, match=said):
        _dataset(folder, **options)


def test_nothing_but_ignored_pixels(folder):
    _write(folder, np.full_like(TRUTH, 255).astype(np.uint8))
    assert find_problems(_dataset(folder)).problems == [
        'no pixel of 2 labels has a class: all are ignored'
    ]


def _touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    'images, labels, pairs',
    [
        (['a.jpg', 'x/a.jpg'], ['a.png', 'x/a.tif'], ['a a', 'x/a x/a']),
        (['x/a.jpg', 'y/b.png'], ['a.png', 'b.png'], ['x/a a', 'y/b b']),
        (['a.jpg', 'b.v2.jpg'], ['a_mask.png', 'b.v2_mask.png'], ['a a_mask', 'b.v2 b.v2_mask']),
        (['a.JPG', '.hidden.jpg'], ['a.PNG', 'Thumbs.db'], ['a a']),
    ],
)
def test_pairs(tmp_path, images, labels, pairs):
    _touch(tmp_path / 'in', *images)
    _touch(tmp_path / 'out', *labels)
    found, problems = pair_files(tmp_path / 'in', tmp_path / 'out')
    assert not problems
    names = [
        (image[len(f'{tmp_path}/in/') : -4], label[len(f'{tmp_path}/out/') : -4])
        for image, label in found
    ]
    assert names == [tuple(pair.split()) for pair in pairs]


def test_folders_that_are_the_same_or_one_in_the_other(tmp_path):
    _touch(tmp_path / 'same', 'a.jpg', 'a.png', 'b.jpg', 'b.png')
    found, problems = pair_files(tmp_path / 'same', tmp_path / 'same')
    assert len(found) == 2 and not problems
    _touch(tmp_path / 'outer', 'a.png', 'labels/a.png')
    found, problems = pair_files(tmp_path / 'outer', tmp_path / 'outer/labels')
    assert len(found) == 1 and not problems


def test_pairs_that_are_none(tmp_path):
    _touch(tmp_path / 'in', 'a.jpg', 'a.png', 'x/b.jpg', 'y/b.jpg')
    _touch(tmp_path / 'out', 'a.png', 'b.png')
    _, problems = pair_files(tmp_path / 'in', tmp_path / 'out')
    assert len(problems) == 4  # two images are called a; b may be either one's label
    (tmp_path / 'empty').mkdir()
    _touch(tmp_path / 'jpeg', 'a.jpg')
    with pytest.raises(InputError, match='no image below'):
        pair_files(tmp_path / 'empty', tmp_path / 'out')
    with pytest.raises(InputError, match='JPEG does not preserve the values'):
        pair_files(tmp_path / 'in', tmp_path / 'jpeg')


def test_a_suffix_of_labels_some_of_which_have_no_image(tmp_path):
    for name in ('images/b.jpg', 'labels/a_mask.png', 'labels/b_mask.png', 'labels/c_mask.png'):
        _touch(tmp_path, name)
    pairs, problems = pair_files(tmp_path / 'images', tmp_path / 'labels')
    assert pairs == [(str(tmp_path / 'images/b.jpg'), str(tmp_path / 'labels/b_mask.png'))]
    assert problems == [f'label {tmp_path}/labels/{name}_mask.png has no image' for name in 'ac']


def test_20000_pairs_are_listed_soon(tmp_path):
    for kind, suffix in (('in', 'jpg'), ('out', 'png')):
        for part in range(4):
            folder = tmp_path / kind / str(part)
            folder.mkdir(parents=True)
            for number in range(5000):
                (folder / f'{number}.{suffix}').touch()
    start = time.process_time()
    found, problems = pair_files(tmp_path / 'in', tmp_path / 'out')
    assert len(found) == 20_000 and not problems
    assert time.process_time() - start < 5


def test_it_is_in_the_registry_of_mmseg():
    assert DATASETS.get('FolderDataset') is FolderDataset


def test_an_export_of_cvat(tmp_path):
    """VOC's layout with a custom split file, RGB masks and their table, which are all found."""
    root = tmp_path / 'export'
    for path in ('JPEGImages/a.jpg', 'SegmentationClass/a.png', 'labelmap.txt'):
        _touch(root, path)
    _touch(root, 'ImageSets/Segmentation/default.txt')
    expected = dict(
        type='FolderDataset',
        data_prefix=dict(
            img_path=str(root / 'JPEGImages'), seg_map_path=str(root / 'SegmentationClass')
        ),
        ann_file=str(root / 'ImageSets/Segmentation/default.txt'),
        colors=str(root / 'labelmap.txt'),
    )
    assert OwnImages(root).dataset() == expected
    assert OwnImages(root / 'JPEGImages', root / 'SegmentationClass').dataset() == expected
    plain = OwnImages(root / 'JPEGImages', tmp_path).dataset()  # labels from elsewhere
    assert 'ann_file' not in plain and 'colors' not in plain
