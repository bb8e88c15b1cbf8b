"""Boundaries equal those of the authors' program, counted for all classes at once."""

import cv2
import numpy as np
import pytest

from sclip_mmseg import InputError
from sclip_mmseg.evaluation import ConfusionMetric, Result, bootstrap, paired_difference
from sclip_mmseg.evaluation.boundary import count


def mask_to_boundary(mask, dilation_ratio=0.02):
    """The function of github.com/bowenc0221/boundary-iou-api, on one binary mask."""
    h, w = mask.shape
    dilation = max(1, int(round(dilation_ratio * np.sqrt(h**2 + w**2))))  # noqa: RUF046
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), dtype=np.uint8), iterations=dilation)
    return mask - eroded[1:-1, 1:-1]


def _reference(label, prediction, num_classes, ratio):
    """Class by class, with ignored pixels in neither mask."""
    rows = []
    for index in range(num_classes):
        masks = [((ids == index) & (label != 255)).astype(np.uint8) for ids in (prediction, label)]
        edges = [mask_to_boundary(mask, ratio) > 0 for mask in masks]
        if any(edge.any() for edge in edges):
            rows.append([index, (edges[0] & edges[1]).sum(), edges[0].sum(), edges[1].sum()])
    return np.array(rows).T


def _maps(seed, size=(60, 90), classes=5):
    rng = np.random.default_rng(seed)
    blocks = [rng.integers(0, classes, (6, 7)).astype(np.uint8) for _ in range(2)]
    label, prediction = (cv2.resize(b, size[::-1], interpolation=cv2.INTER_NEAREST) for b in blocks)
    prediction[: size[0] // 2] = label[: size[0] // 2]
    label[10:20, 5:40] = 255
    return label, prediction


@pytest.mark.parametrize('ratio', [0.001, 0.02, 0.05, 0.9])
@pytest.mark.parametrize('size', [(60, 90), (7, 300), (1, 1)])
def test_counts_are_those_of_the_authors(size, ratio):
    for seed in range(3):
        label, prediction = _maps(seed, size)
        found = count(label, prediction, 5, 255, ratio)
        np.testing.assert_array_equal(found, _reference(label, prediction, 5, ratio))
        many = count(label.astype(int), prediction.astype(int), 65_536, 255, ratio)
        np.testing.assert_array_equal(many, found)


def test_a_prediction_that_equals_the_label_where_it_counts_is_perfect():
    label, prediction = _maps(0)
    _, both, of_prediction, of_label = count(
        label, np.where(label == 255, prediction, label), 5, 255, 0.02
    )
    assert (both == of_prediction).all() and (both == of_label).all() and both.sum() > 0
    assert count(label * 0 + 255, prediction, 5, 255, 0.02).shape == (4, 0)


def _result(seed, right=3):
    """A result of 6 images, right in some of them."""
    counts, boundaries = [], []
    for i in range(6):
        label, prediction = _maps(100 * seed + i)
        label = _maps(i)[0]
        if i < right:
            prediction = np.where(label == 255, 0, label)
        boundaries.append(count(label, prediction, 5, 255, 0.02))
        pairs, pixels = np.unique(label * 10.0 + prediction, return_counts=True)
        known = pairs < 50
        counts.append(np.stack([pairs[known] // 10, pairs[known] % 10, pixels[known]]).astype(int))
    return Result.from_counts([*'abcdef'], counts, [*'vwxyz', 'never'], boundaries)


def test_a_result_keeps_boundaries(tmp_path):
    result = _result(1)
    sums = np.zeros((3, 6))
    for part in result.boundaries():
        sums[:, part[0]] += part[1:]
    with np.errstate(invalid='ignore'):
        expected = 100 * sums[0] / (sums[1] + sums[2] - sums[0])
    np.testing.assert_allclose(result.BIoU, expected)
    assert np.isnan(result.BIoU[5]) and result.mBIoU == pytest.approx(np.nanmean(expected))
    assert result.metrics()['mBIoU'] == pytest.approx(result.mBIoU, abs=0.005)
    result.save(tmp_path / 'result.npz')
    loaded = Result.load(tmp_path / 'result.npz')
    np.testing.assert_array_equal(loaded.boundary, result.boundary)
    turned = loaded.take([5, 4, 3, 2, 1, 0, 0])
    np.testing.assert_array_equal(turned.boundaries()[6], result.boundaries()[0])
    np.testing.assert_array_equal(turned.counts(0), result.counts(5))
    assert Result.from_counts([], [], ['a'], []).boundaries() == []


def test_boundaries_have_intervals():
    a, b = _result(1, right=5), _result(2, right=0)
    found = bootstrap(a).overall['mBIoU']
    assert found.value == a.mBIoU and found.low < found.value < found.high
    draws = np.random.default_rng(0)
    chosen = [draws.integers(6, size=6) for _ in range(50)]
    expected = np.percentile([a.take(each).mBIoU for each in chosen], [2.5, 97.5])
    first = bootstrap(a, 50).overall['mBIoU']
    np.testing.assert_allclose([first.low, first.high], expected)
    difference = paired_difference(a, b)
    assert difference.overall['mBIoU'].value == a.mBIoU - b.mBIoU
    without = Result.from_counts(b.images, [b.counts(i) for i in range(6)], b.class_names)
    assert 'mBIoU' not in paired_difference(a, without).overall
    with pytest.raises(InputError, match='evaluate with --boundary-iou'):
        without.mBIoU  # noqa: B018


@pytest.mark.parametrize(
    'boundary', [np.zeros((4, 1), int), np.zeros((5, 1)), [[9], [0], [1], [1], [1]], -np.eye(5)]
)
def test_boundaries_that_do_not_fit_are_refused(boundary):
    fields = ('images', 'class_names', 'image_ptr', 'label', 'prediction', 'pixels')
    with pytest.raises(InputError, match='boundar'):
        Result(*(getattr(_result(1), name) for name in fields), boundary=boundary)


@pytest.mark.parametrize('ratio', [0, 1, -0.1])
def test_a_wrong_ratio_is_refused(ratio):
    with pytest.raises(InputError, match='boundary_ratio'):
        ConfusionMetric(boundary_ratio=ratio)
