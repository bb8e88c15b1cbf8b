"""Archives made of the reference photographs are prepared, checked and evaluated."""

import json

import numpy as np
import pytest
from helpers import metrics, run_test
from test_prepare_data import label_at, mat, without_digests, write_tar, write_zip

from sclip_mmseg.cli import check_data, prepare_data
from sclip_mmseg.datasets.benchmarks import BENCHMARKS, usual_benchmarks
from sclip_mmseg.datasets.preparation import pascal_context
from sclip_mmseg.datasets.preparation.pascal_context import _IDS_OF_459


def _read(folder, pattern, prefix):
    files = sorted(path for path in folder.rglob(pattern) if path.is_file())
    return {f'{prefix}/{path.relative_to(folder).as_posix()}': path.read_bytes() for path in files}


def _run_lengths(mask):
    flat = np.concatenate([[0], mask.T.flatten(), [1 - mask[-1, -1]]])
    ends = np.flatnonzero(np.diff(flat))
    return dict(size=mask.shape, counts=np.diff(np.concatenate([[0], ends])).tolist())


def _make_voc(data, raw):
    write_tar(
        raw / BENCHMARKS['voc21'].archives[0].name,
        _read(data / 'VOCdevkit/VOC2012', '*', 'VOCdevkit/VOC2012'),
    )


def _make_context(data, raw, kind):
    source = data / 'VOCdevkit/VOC2010'
    labels = {path.stem: label_at(path) for path in (source / 'SegmentationClassContext').iterdir()}
    ids = np.array([0, *_IDS_OF_459])
    files = _read(source / 'JPEGImages', '*.jpg', 'VOCdevkit/VOC2010/JPEGImages')
    files['VOCdevkit/VOC2010/ImageSets/Main/val.txt'] = '\n'.join(sorted(labels)).encode()
    write_tar(raw / pascal_context.VOC2010.name, files)
    if kind == 'mat':
        mats = {f'trainval/{n}.mat': mat(LabelMap=ids[v]) for n, v in labels.items()}
        write_tar(raw / pascal_context.LABELS459.name, mats, 'w:gz')
        return
    images = [
        dict(image_id=n, file_name=f'{n}.jpg', height=len(v), width=v.shape[1], phase='val')
        for n, v in labels.items()
    ]
    segments = [
        dict(image_id=n, category_id=int(ids[c]), segmentation=_run_lengths((v == c).astype(int)))
        for n, v in labels.items()
        for c in np.unique(v[v > 0])
    ]
    text = json.dumps(dict(images=images, annos_segmentation=segments))
    (raw / pascal_context.MERGED.name).write_text(text)


def _make_coco(data, raw):
    stuff = data / 'coco_stuff164k'
    images = _read(stuff / 'images/val2017', '*.jpg', 'val2017')
    maps = _read(stuff / 'annotations/val2017', '*[0-9].png', 'val2017')
    write_zip(raw / BENCHMARKS['coco_object'].archives[0].name, images)
    write_zip(raw / BENCHMARKS['coco_object'].archives[1].name, maps)


def _make_coco10k(data, raw):
    stuff = data / 'coco_stuff164k'
    names = [path.stem for path in (stuff / 'images/val2017').iterdir()]
    files = {'imageLists/test.txt': '\n'.join(f'COCO_train2014_{n}' for n in names).encode()}
    for name in names:
        numbers = label_at(stuff / f'annotations/val2017/{name}.png').astype(np.uint8) + 1
        image = (stuff / f'images/val2017/{name}.jpg').read_bytes()
        files[f'annotations/COCO_train2014_{name}.mat'] = mat(S=numbers)
        files[f'images/COCO_train2014_{name}.jpg'] = image
    write_zip(raw / 'cocostuff-10k-v1.1.zip', files)


def _make_cityscapes(data, raw):
    city = data / 'cityscapes'
    images = _read(city / 'leftImg8bit', '*.png', 'leftImg8bit')
    labels = _read(city / 'gtFine', '*_labelIds.png', 'gtFine')
    write_zip(raw / 'leftImg8bit_trainvaltest.zip', images)
    write_zip(raw / 'gtFine_trainvaltest.zip', labels)


def _make_ade(data, raw):
    folder = 'ADEChallengeData2016'
    write_zip(raw / f'{folder}.zip', _read(data / 'ade' / folder, '*', folder))


@pytest.fixture(scope='module')
def prepared(shared, tmp_path_factory):
    """A data root that the tool made of archives of the reference photographs."""
    raw, out = (tmp_path_factory.mktemp(name) for name in ('raw', 'out'))
    for make in (_make_voc, _make_coco, _make_coco10k, _make_cityscapes, _make_ade):
        make(shared / 'data', raw)
    _make_context(shared / 'data', raw, 'json')
    _run(prepare_data, 'all', '--raw', raw, '--data-root', out)
    return out


def _run(tool, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        without_digests(patch)
        try:
            tool.main([*map(str, arguments), '--nproc', '2'])
        except SystemExit as stop:
            assert not stop.code


def _equal(made, pattern, true):
    paths = sorted(made.rglob(pattern))
    for path in paths:
        assert (label_at(path) == true(path)).all(), path
    return len(paths)


def test_labels_are_the_true_ones(prepared, shared):
    data = shared / 'data'
    maps = data / 'coco_stuff164k/annotations/val2017'

    def same(path):
        return label_at(data / path.relative_to(prepared))

    def stuff10k(path):
        name = path.name.replace('COCO_train2014_', '')
        return label_at(maps / name) + 1  # 255 becomes 0

    assert _equal(prepared / 'VOCdevkit', '*.png', same) == 24
    assert _equal(prepared / 'ade', '*.png', same) == 3
    assert _equal(prepared / 'cityscapes', '*_labelTrainIds.png', same) == 10
    assert _equal(prepared / 'coco_stuff164k', '*.png', same) == 21
    assert _equal(prepared / 'coco_stuff10k', '*.png', stuff10k) == 21


def test_matlab_files_of_context_give_the_same_labels(shared, tmp_path):
    raw, out = tmp_path / 'raw', tmp_path / 'out'
    _make_context(shared / 'data', raw, 'mat')
    _run(prepare_data, 'context59', '--raw', raw, '--data-root', out)
    true = shared / 'data/VOCdevkit/VOC2010/SegmentationClassContext'
    assert _equal(out, '*.png', lambda path: label_at(true / path.name)) == 4


def test_the_check_finds_nothing(prepared, monkeypatch, capsys):
    monkeypatch.setenv('SCLIP_DATA_ROOT', str(prepared))
    _run(check_data, 'all', '--partial', '--limit', 4)
    assert 'wrong' not in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize('benchmark', usual_benchmarks())
def test_evaluation(prepared, clip_path, tmp_path, benchmark):
    result = run_test(
        f'sclip_vit-b16_{benchmark}',
        clip_path,
        *('--work-dir', tmp_path, '--cfg-options', 'model.text_head.templates=[{}]'),
        data_root=prepared,
    )
    assert 0 < metrics(result.stdout)['aAcc'] < 100
