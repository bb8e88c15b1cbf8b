"""A result's metrics equal those that mmseg prints; its file is small, complete and checked."""

import io
import json
import os
import zipfile

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from sclip_mmseg import InputError
from sclip_mmseg.evaluation import ConfusionMetric, Result
from sclip_mmseg.evaluation.confusion_metric import count_pairs

CLASSES = ['sky', 'cat', 'dog', 'never', 'only predicted', 'only labelled']


def _maps(seed, size=(40, 50)):
    """A label map with ignored pixels, and a prediction."""
    rng = np.random.default_rng(seed)
    label = rng.choice([0, 1, 2, 5, 255], size=size)
    prediction = rng.choice([0, 1, 2, 4], size=size)
    prediction = np.where(rng.random(size) < 0.6, label, prediction)
    return torch.tensor(label), torch.tensor(np.where(prediction == 255, 0, prediction))


def _sample(name, label, prediction):
    return dict(
        img_path=name,
        gt_sem_seg=dict(data=label[None]),
        pred_sem_seg=dict(data=prediction[None]),
    )


def _run(metric, samples):
    metric.dataset_meta = dict(classes=CLASSES)
    for sample in samples:
        metric.process({}, [sample])
    return metric.evaluate(len(samples))


@pytest.fixture
def samples():
    return [_sample(f'folder/image_{i}.jpg', *_maps(i, (40 + i, 50))) for i in range(7)]


@pytest.fixture
def result(samples):
    metric = ConfusionMetric()
    _run(metric, samples)
    return metric.result


def _printed(metric, samples, caplog):
    """The numbers of a metric's logged table, as text."""
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.clear()
    values = _run(metric, samples)
    logger.removeHandler(caplog.handler)
    return values, [record.getMessage() for record in caplog.records]


def test_numbers_are_those_of_mmseg(samples, caplog):
    ours, theirs = ConfusionMetric(), IoUMetric()
    values, table = _printed(ours, samples, caplog)
    expected, expected_table = _printed(theirs, samples, caplog)
    assert values == {key: pytest.approx(value, abs=0) for key, value in expected.items()}
    assert table[-1] == expected_table[-1] and '| never' in table[-1].replace('|     ', '| ')
    assert ours.result.metrics() == {key: round(float(v), 2) for key, v in expected.items()}
    lines = [line.split('|')[2:4] for line in table[-1].splitlines() if line.startswith('| ')][1:]
    rounded = np.stack([ours.result.IoU, ours.result.Acc], axis=1).round(2)
    np.testing.assert_array_equal(np.array(lines, np.float32), rounded)
    assert np.isnan(ours.result.IoU).tolist() == [False] * 3 + [True, False, False]
    assert ours.result.by_class()['only predicted'] == dict(IoU=0.0, Acc=None)


def test_digits_of_large_counts_are_those_of_mmseg():
    """Counts that float32, in which IoUMetric sums, rounds."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 2_000_000, (300, 3, 3))
    counts = [np.stack([*np.indices((3, 3)).reshape(2, -1), each.ravel()]) for each in sizes]
    result = Result.from_counts(list(map(str, range(300))), counts, ['a', 'b', 'c'])
    areas = []
    for matrix in torch.tensor(sizes, dtype=torch.float32):
        right, label, prediction = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        areas.append((right, label + prediction - right, prediction, label))
    values = IoUMetric.total_area_to_metrics(*map(sum, zip(*areas)))
    assert (result.IoU == 100 * values['IoU']).all() and (result.Acc == 100 * values['Acc']).all()
    assert (result.confusion() == sizes.sum(0)).all()


def test_counts_are_those_of_each_image(samples, result):
    assert result.images == [sample['img_path'] for sample in samples]
    for index, sample in enumerate(samples):
        label, prediction = (sample[key]['data'][0] for key in ('gt_sem_seg', 'pred_sem_seg'))
        matrix = np.zeros((6, 6), int)
        for pair in zip(label.ravel().tolist(), prediction.ravel().tolist()):
            if pair[0] != 255:
                matrix[pair] += 1
        found = np.zeros((6, 6), int)
        rows, columns, pixels = result.counts(index)
        found[rows, columns] = pixels
        assert (found == matrix).all()
        assert (result.areas()[index, 3] == matrix.sum(1)).all()


def test_many_classes_are_counted_alike():
    label, prediction = _maps(0)
    few = count_pairs(label, prediction, 6, 255)
    many = count_pairs(label, prediction, 60_000, 255)
    assert torch.equal(few, many) and few.dtype == torch.int64
    assert count_pairs(label * 0 + 255, prediction, 6, 255).shape == (3, 0)
    with pytest.raises(InputError, match='labels from 0 to 5 .* of the 5 classes'):
        count_pairs(label, prediction, 5, 255)


def test_a_saved_result_is_the_same(result, tmp_path):
    full = Result(
        **{name: getattr(result, name) for name in Result.__dataclass_fields__}
        | dict(fingerprint={'model.type': 'X'}, meta={'seconds': 1.5, 'clip': 'ViT-B/16'})
    )
    full.save(tmp_path / 'result.npz')
    loaded = Result.load(tmp_path / 'result.npz')
    for name in Result.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(full, name))
    assert loaded.metrics() == result.metrics()
    assert os.listdir(tmp_path) == ['result.npz']


@pytest.mark.parametrize(
    'images, classes, pairs, limit',
    [(500, 19, 150, 5e6), (2000, 150, 400, 40e6)],
    ids=['Cityscapes', 'ADE20K'],
)
def test_files_are_small(tmp_path, images, classes, pairs, limit):
    """The images have more pairs of classes than SCLIP's on the real datasets."""
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(images):
        cells = np.sort(rng.choice(classes**2, pairs, replace=False))
        counts.append(np.stack([*np.divmod(cells, classes), rng.integers(1, 1 << 20, pairs)]))
    names = [f'frankfurt/frankfurt_000000_{i:06d}_leftImg8bit.png' for i in range(images)]
    Result.from_counts(names, counts, [f'class {i}' for i in range(classes)]).save(tmp_path / 'r')
    assert (tmp_path / 'r').stat().st_size < limit


def test_a_result_without_images_or_labels():
    empty = Result.from_counts([], [], CLASSES)
    assert np.isnan(empty.mIoU) and empty.areas().shape == (0, 4, 6)
    nothing = Result.from_counts(['a'], [np.zeros((3, 0), int)], CLASSES)
    assert np.isnan([nothing.mIoU, nothing.aAcc, *nothing.IoU]).all()


def test_metrics_without_a_value_are_left_out(samples):
    for sample in samples:
        sample['gt_sem_seg']['data'][:] = 255
    with np.errstate(all='ignore'), pytest.warns(RuntimeWarning):
        assert _run(ConfusionMetric(), samples) == {}


def _change(path, **arrays):
    with np.load(path) as file:
        arrays = {**file, **arrays}
    np.savez(path, **arrays)


def _header(path, **values):
    with np.load(path) as file:
        header = json.loads(file['header'].tobytes())
    _change(path, header=np.frombuffer(json.dumps({**header, **values}).encode(), np.uint8))


def _lie(path):
    """The header of an array states a far larger size than it has."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, dict(descr='<i8', fortran_order=False, shape=(1 << 60,))
    )
    with np.load(path) as file:
        arrays = {**file}
    del arrays['pixels']
    np.savez(path, **arrays)
    with zipfile.ZipFile(path, 'a') as file:
        file.writestr('pixels.npy', header.getvalue())


DAMAGES = {
    'cut': lambda path: path.write_bytes(path.read_bytes()[:-40]),
    'empty': lambda path: path.write_bytes(b''),
    'text': lambda path: path.write_text('no zip'),
    'flipped': lambda path: path.write_bytes(path.read_bytes()[:200] + b'\0' * 99),
    'other arrays': lambda path: np.savez(path, a=np.eye(3)),
    'pickle': lambda path: np.savez(path, header=np.array([{}], dtype=object)),
    'another format': lambda path: _header(path, format='x'),
    'names of numbers': lambda path: _header(path, images=[1] * 7),
    'no names': lambda path: _header(path, images=3),
    'class beyond': lambda path: _change(path, label=np.full(100, 9)),
    'negative': lambda path: _change(path, image_ptr=np.array([-1] * 8)),
    'floats': lambda path: _change(path, pixels=np.ones(100)),
    'long': _lie,
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_file_is_named(result, tmp_path, damage):
    path = tmp_path / 'result.npz'
    result.save(path)
    DAMAGES[damage](path)
    with pytest.raises(InputError) as caught:
        Result.load(path)
    assert 'result.npz' in str(caught.value) and '\n' not in str(caught.value)


def test_other_files_are_distinguished(result, tmp_path):
    with pytest.raises(InputError, match='no.npz does not exist'):
        Result.load(tmp_path / 'no.npz')
    result.save(tmp_path / 'result.npz')
    _header(tmp_path / 'result.npz', version=2)
    with pytest.raises(InputError, match='has version 2 of the format'):
        Result.load(tmp_path / 'result.npz')
    with pytest.raises(InputError, match='cannot be written'):
        result.save(tmp_path / 'no folder/result.npz')


def test_a_bomb_is_not_unpacked(result, tmp_path, monkeypatch):
    monkeypatch.setattr('sclip_mmseg.utils.arrays._LARGEST', 100)
    result.save(tmp_path / 'result.npz')
    with pytest.raises(InputError, match='claims to hold'):
        Result.load(tmp_path / 'result.npz')
