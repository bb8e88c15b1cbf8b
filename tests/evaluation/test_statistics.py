"""Intervals equal those of a loop that evaluates each resample; claims follow from them."""

import time

import numpy as np
import pytest

from sclip_mmseg import InputError
from sclip_mmseg.evaluation import Result, bootstrap, claim, paired_difference

CLASSES = ['sky', 'cat', 'dog', 'rare', 'never']


def _counts(label_seed, seed, right=0.7):
    """Counts of an image with labels and a prediction that depend on the seeds."""
    labels = np.random.default_rng(label_seed).integers(0, 4, 300)
    labels[labels == 3] = 3 if label_seed % 8 == 0 else 0  # in few images
    rng = np.random.default_rng(seed)
    other = rng.integers(0, 3, 300)
    prediction = np.where(rng.random(300) < right, labels, other)
    pairs, pixels = np.unique(labels * 10 + prediction, return_counts=True)
    return np.stack([pairs // 10, pairs % 10, pixels])


def make(seed, images=12, right=0.7, first=0):
    names = [f'image_{i}.jpg' for i in range(first, first + images)]
    counts = [_counts(i, 1000 * seed + i, right=right) for i in range(first, first + images)]
    return Result.from_counts(names, counts, CLASSES)


def _loop(result, resamples, seed):
    """The metrics of each resample, by evaluating it."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(resamples):
        chosen = rng.integers(len(result.images), size=len(result.images))
        matrix = np.zeros((5, 5))
        for image in chosen:
            np.add.at(matrix, tuple(result.counts(image)[:2]), result.counts(image)[2])
        right, label, prediction = np.diag(matrix), matrix.sum(1), matrix.sum(0)
        with np.errstate(invalid='ignore'):
            IoU, Acc = 100 * right / (label + prediction - right), 100 * right / label
        found.append([np.nanmean(IoU), np.nanmean(Acc), 100 * right.sum() / label.sum(), *IoU])
    return np.array(found)


def _ends(intervals):
    parts = [*intervals.overall.values(), *intervals.classes]
    return np.array([[each.low, each.high] for each in parts])


@pytest.mark.parametrize('block', [1 << 22, 30], ids=['one block', 'blocks'])
def test_intervals_are_those_of_a_loop(monkeypatch, block):
    monkeypatch.setattr('sclip_mmseg.evaluation.statistics._BLOCK', block)
    a, b = make(1), make(2, right=0.6)
    found = bootstrap(a, 200, seed=3)
    loops = [_loop(result, 200, 3) for result in (a, b)]
    assert np.isnan(loops[0][:, 7]).all() and np.isnan(loops[0][:, 6]).any()
    with pytest.warns(RuntimeWarning, match='All-NaN'):
        expected = np.nanpercentile(loops[0], [2.5, 97.5], axis=0).T
        changes = np.nanpercentile(loops[0] - loops[1], [2.5, 97.5], axis=0).T
    np.testing.assert_allclose(_ends(found), expected, rtol=1e-12)
    difference = paired_difference(a, b, 200, seed=3)
    np.testing.assert_allclose(_ends(difference), changes, rtol=1e-10)
    assert difference.shares['mIoU'] == (loops[0][:, 0] > loops[1][:, 0]).mean()
    assert list(found.overall) == list(difference.overall) == ['mIoU', 'mAcc', 'aAcc']


def test_values_are_those_that_are_printed():
    a, b = make(1), make(2)
    found, difference = bootstrap(a), paired_difference(a, b)
    assert found.overall['mIoU'].value == a.mIoU and found.overall['aAcc'].value == a.aAcc
    assert difference.overall['mAcc'].value == a.mAcc - b.mAcc
    values = [each.value for each in found.classes]
    np.testing.assert_array_equal(np.array(values, np.float32), a.IoU)
    assert np.isnan([values[4], found.classes[4].low, difference.class_shares[4]]).all()


def test_the_seed_alone_decides():
    a, b = make(1), make(2)
    assert _ends(bootstrap(a, 50)).tolist()[:3] == _ends(bootstrap(a, 50)).tolist()[:3]
    assert _ends(bootstrap(a, 50)).tolist()[:3] != _ends(bootstrap(a, 50, seed=1)).tolist()[:3]
    ahead, behind = paired_difference(a, b), paired_difference(b, a)
    np.testing.assert_allclose(_ends(ahead)[:7], -_ends(behind)[:7, ::-1])
    assert ahead.shares['mIoU'] == pytest.approx(1 - behind.shares['mIoU'])


def test_an_interval_holds_what_it_says():
    """The distribution is known: aAcc of images that are right or wrong."""
    held = 0
    for seed in range(100):
        right = np.random.default_rng(seed).random(100) < 0.7
        counts = [np.array([[0], [int(not each)], [10]]) for each in right]
        found = bootstrap(Result.from_counts([*map(str, range(100))], counts, CLASSES), 500)
        held += found.overall['aAcc'].low <= 70 <= found.overall['aAcc'].high
    assert 88 <= held <= 99


def test_images_in_another_order_are_paired():
    a, b = make(1), make(2)
    order = np.random.default_rng(0).permutation(12)
    counts = [b.counts(index) for index in order]
    shuffled = Result.from_counts([b.images[index] for index in order], counts, CLASSES)
    expected, found = paired_difference(a, b), paired_difference(a, shuffled)
    np.testing.assert_allclose(_ends(found)[:7], _ends(expected)[:7])


def _renamed(result, **changes):
    fields = ('images', 'class_names', 'image_ptr', 'label', 'prediction', 'pixels')
    return Result(**{name: changes.get(name, getattr(result, name)) for name in fields})


@pytest.mark.parametrize(
    'other, words',
    [
        (make(2, images=10), 'different images, A has image_10.jpg; image_11.jpg, which B lacks'),
        (make(2, images=14), r'B has image_12.jpg; image_13.jpg, which A lacks'),
        (_renamed(make(2), images=['x'] * 12), 'A has image_0.jpg; .* more'),
        (_renamed(make(2), class_names=[*CLASSES[:4], 'no']), 'different classes, A has never'),
        (_renamed(make(2), class_names=CLASSES[::-1]), 'the same names in another order'),
        (
            _renamed(make(2), images=make(2).images[::-1]),
            'different labels in 1[0-2] of 12 images, the first is image_0.jpg',
        ),
    ],
)
def test_results_of_other_data_are_refused(other, words):
    with pytest.raises(InputError, match=words) as caught:
        paired_difference(make(1), other)
    assert 'compare results of the same benchmark' in str(caught.value)


def test_wrong_numbers_are_refused():
    for options in (dict(resamples=0), dict(level=100), dict(level=0)):
        with pytest.raises(InputError, match='use 1 or more'):
            bootstrap(make(1), **options)
    with pytest.raises(InputError, match='without images'):
        bootstrap(Result.from_counts([], [], CLASSES))


def test_claims():
    good, bad, same = make(1, 40, right=0.8), make(2, 40, right=0.5), make(3, 40, right=0.8)
    sentence = claim(paired_difference(good, bad), 'Good', 'Bad')
    assert sentence.startswith('Good is better than Bad on images like these, by ')
    assert sentence.endswith(', 40 images); Good is ahead in 100.0 % of resamples.')
    turned = claim(paired_difference(bad, good), 'Bad', 'Good')
    assert turned == sentence.replace('Good is ahead in 100.0 %', 'Bad is ahead in 0.0 %')
    sentence = claim(paired_difference(good, same), 'A', 'B')
    assert sentence.startswith('Neither may be claimed to be better: A minus B is ')
    sentence = claim(paired_difference(good, good), 'A', 'B')
    assert sentence == 'A and B have the same mIoU on these images and on every resample of them.'


@pytest.mark.parametrize('images', [1, 2])
def test_few_images_claim_nothing(images):
    difference = paired_difference(make(1, images, right=0.9), make(2, images, right=0.2))
    assert np.isfinite([difference.overall['mIoU'].low, difference.overall['mIoU'].high]).all()
    sentence = claim(difference, 'A', 'B')
    assert sentence.startswith(f'Nothing may be claimed beyond these {images} image')


def test_nothing_to_count():
    nothing = Result.from_counts(['a', 'b'], [np.zeros((3, 0), int)] * 2, CLASSES)
    found = bootstrap(nothing)
    assert np.isnan(_ends(found)).all()
    assert claim(paired_difference(nothing, nothing), 'A', 'B').startswith('Nothing may be claimed')


def test_a_benchmark_is_resampled_fast():
    """2,000 resamples of 2,000 images and 171 classes; the bound is the one that users are told."""
    rng, counts = np.random.default_rng(0), []
    for _ in range(2000):
        cells = np.sort(rng.choice(171**2, 400, replace=False))
        counts.append(np.stack([*np.divmod(cells, 171), rng.integers(1, 1000, 400)]))
    result = Result.from_counts([*map(str, range(2000))], counts, [*map(str, range(171))])
    start = time.process_time()
    found = bootstrap(result)
    assert time.process_time() - start < 20 and found.resamples == 2000
