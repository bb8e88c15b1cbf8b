"""Bootstrap intervals over images, and paired differences of results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..utils.errors import InputError, join_first
from .result import Result

if TYPE_CHECKING:
    from scipy import sparse  # slow to import

METRICS = 'mIoU', 'mAcc', 'aAcc'
RESAMPLES, LEVEL = 2000, 95.0
#: With fewer images, intervals are too narrow, since they do not show how much images vary.
FEW_IMAGES = 20
_BLOCK = 1 << 22  # elements of a block of resamples


@dataclass(frozen=True)
class Interval:
    """A value and its interval, in percent or percentage points; NaN if undefined."""

    value: float
    low: float
    high: float

    def excludes_zero(self) -> bool:
        """Whether both ends lie on the same side of 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Intervals:
    """Intervals of an evaluation's metrics.

    Attributes:
        overall: ``mIoU``, ``mAcc``, ``aAcc``, and ``mBIoU`` if boundaries were counted.
        classes: Intervals of the IoU of each of K classes.
        images: Number of images, N.
        resamples: Number of resamples.
        level: Confidence level in percent.
    """

    overall: Mapping[str, Interval]
    classes: Sequence[Interval]
    images: int
    resamples: int
    level: float


@dataclass(frozen=True)
class Differences(Intervals):
    """Intervals of A minus B on the same images.

    Attributes:
        shares: Metric → share of resamples in which A > B, 0 to 1; NaN if no resample has a value.
        class_shares: The same shares for the IoU of each class.
    """

    shares: Mapping[str, float]
    class_shares: Sequence[float]


def bootstrap(
    result: Result, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> Intervals:
    """Percentile intervals of the metrics, from resamples of the images with replacement.

    The metrics of a resample are those of an evaluation on its images: classes without pixels there
    do not count in the means.

    Args:
        result: Result of N images and K classes.
        resamples: Number of resamples.
        seed: Seed of the resamples, which are the same for all results with N images.
        level: Confidence level in percent.

    Raises:
        InputError: If there is no image, or a value is out of range.
    """
    _check(result, resamples, level)
    found, values = _resample(result, resamples, seed), _values(result)
    parts = {name: _interval(values[name], found[name], level) for name in found}
    classes = parts.pop('IoU')
    overall = {name: interval for name, [interval] in parts.items()}
    return Intervals(overall, classes, len(result.images), resamples, level)


def paired_difference(
    a: Result, b: Result, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> Differences:
    """Percentile intervals of A minus B, both on the same resamples of their images.

    Args:
        a, b: Results with the same images, in any order, classes and labels.
        resamples, seed, level: See :func:`bootstrap`.

    Raises:
        InputError: If images, classes or labels differ, or as :func:`bootstrap`.
    """
    return difference_of_aligned(a, align(a, b), resamples, seed, level)


def difference_of_aligned(
    a: Result, b: Result, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> Differences:
    """:func:`paired_difference` of results that :func:`align` has aligned."""
    _check(a, resamples, level)
    first, second = (_resample(result, resamples, seed) for result in (a, b))
    before, after = _values(a), _values(b)
    parts, shares = {}, {}
    for name in first.keys() & second.keys():
        change = first[name] - second[name]
        parts[name] = _interval(before[name] - after[name], change, level)
        shares[name] = [_share(column) for column in change.T]
    overall = {name: parts[name][0] for name in first if name in parts and name != 'IoU'}
    return Differences(
        *(overall, parts['IoU'], len(a.images), resamples, level),
        {name: shares[name][0] for name in overall},
        shares['IoU'],
    )


def align(a: Result, b: Result, names: Sequence[str] = ('A', 'B')) -> Result:
    """Check that two results have the same images, classes and labels, and order the images.

    Args:
        a, b: The results.
        names: Their names in messages.

    Returns:
        B, with its images in the order of A's.

    Raises:
        InputError: If they differ.
    """
    if a.class_names != b.class_names:
        missing = _missing(a.class_names, b.class_names, names)
        reason = missing or 'the same names in another order'
        raise InputError(f'{names[0]} and {names[1]} have different classes, {reason}: {_REMEDY}')
    if a.images != b.images:
        missing = _missing(a.images, b.images, names)
        if missing or not len({*a.images}) == len(a.images) == len(b.images):
            missing = missing or 'several images with the same name'
            raise InputError(
                f'{names[0]} and {names[1]} have different images, {missing}: {_REMEDY}'
            )
        places = {image: place for place, image in enumerate(b.images)}
        b = b.take([places[image] for image in a.images])
    labels = [_per_image(result, result.label) for result in (a, b)]
    differs = (labels[0] != labels[1]).sum(axis=1).nonzero()[0]
    if len(differs):
        raise InputError(
            f'{names[0]} and {names[1]} have different labels in {len(differs)} of {len(a.images)} '
            f'images, the first is {a.images[differs[0]]}: {_REMEDY}'
        )
    return b


_REMEDY = 'compare results of the same benchmark'


def _missing(first: Sequence[str], second: Sequence[str], names: Sequence[str]) -> str:
    """Describe the items that only one of two lists has; empty if there are none."""
    for mine, other, has, lacks in ((first, second, *names), (second, first, *names[::-1])):
        known = {*other}
        if rest := [text for text in mine if text not in known]:
            return f'{has} has {join_first(rest)}, which {lacks} lacks'
    return ''


def _check(result: Result, resamples: int, level: float) -> None:
    if not result.images:
        raise InputError('a result without images has no intervals: evaluate some')
    if resamples < 1 or not 0 < level < 100:
        raise InputError(
            f'resamples={resamples} and level={level}: use 1 or more, and a percentage such as 95'
        )


def _values(result: Result) -> dict[str, np.ndarray]:
    """The metrics of the result itself, in percent."""
    boundary = ['mBIoU'] if result.boundary is not None else []
    values = {name: np.array([getattr(result, name)]) for name in [*METRICS, *boundary]}
    return {**values, 'IoU': result.IoU.astype(float)}


def _per_image(
    result: Result, classes: np.ndarray, chosen: slice | np.ndarray = np.s_[:]
) -> sparse.csr_array:
    """Sum pixels by image and class, float64 ``[N, K]``; float64 is exact up to 2⁵³."""
    image = np.repeat(np.arange(len(result.images)), np.diff(result.image_ptr))
    return _table(result, result.pixels[chosen], image[chosen], classes[chosen])


def _table(
    result: Result, pixels: np.ndarray, image: np.ndarray, classes: np.ndarray
) -> sparse.csr_array:
    from scipy import sparse

    shape = (len(result.images), len(result.class_names))
    return sparse.csr_array((pixels.astype(float), (image, classes)), shape)


def areas_by_image(result: Result) -> list[sparse.csr_array]:
    """Pixels of intersection, prediction and label by image and class, ``[N, K]`` each.

    If boundaries were counted, the same three of boundaries follow.
    """
    right = result.label == result.prediction
    return [
        _per_image(result, result.label, right),
        _per_image(result, result.prediction),
        _per_image(result, result.label),
        *_boundaries(result),
    ]


def _boundaries(result: Result) -> list[sparse.csr_array]:
    if result.boundary is None:
        return []
    image, classes, *columns = result.boundary
    return [_table(result, each, image, classes) for each in columns]


def _resample(result: Result, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Metrics of resamples in percent: ``IoU`` ``[R, K]``, the others ``[R, 1]``.

    They are cached in the result, which is often compared with several others.
    """
    key, (known, found) = (resamples, seed), result.__dict__.get('_resampled', (None, {}))
    if known != key:
        areas = areas_by_image(result)
        parts = [
            _metrics(*(np.asarray((area.T @ weights).T) for area in areas))
            for weights in _draw(len(result.images), resamples, seed)
        ]
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        result.__dict__['_resampled'] = (key, found)
    return found


def _draw(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Count each image in each resample, in blocks of r resamples, float64 ``[N, r]``."""
    rng = np.random.default_rng(seed)
    size = max(1, _BLOCK // count)
    for start in range(0, resamples, size):
        block = [
            np.bincount(rng.integers(count, size=count), minlength=count)
            for _ in range(min(size, resamples - start))
        ]
        yield np.stack(block, axis=1).astype(float)


def _metrics(
    right: np.ndarray, prediction: np.ndarray, label: np.ndarray, *boundary: np.ndarray
) -> dict[str, np.ndarray]:
    """Metrics in percent of areas ``[R, K]``."""
    with np.errstate(invalid='ignore'):  # of classes that are absent
        IoU = 100 * right / (prediction + label - right)
        Acc = 100 * right / label
        aAcc = 100 * right.sum(1) / label.sum(1)
        values = {'mIoU': _mean(IoU), 'mAcc': _mean(Acc), 'aAcc': aAcc}
        if boundary:
            both, of_prediction, of_label = boundary
            values['mBIoU'] = _mean(100 * both / (of_prediction + of_label - both))
    return {**{name: value[:, None] for name, value in values.items()}, 'IoU': IoU}


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean of each row without NaN; NaN for rows of NaN."""
    found = ~np.isnan(values)
    with np.errstate(invalid='ignore'):
        return np.where(found, values, 0).sum(1) / found.sum(1)


def _interval(values: np.ndarray, resampled: np.ndarray, level: float) -> list[Interval]:
    """Intervals of values ``[K]`` from those of resamples ``[R, K]``."""
    ends = [50 - level / 2, 50 + level / 2]
    intervals = []
    for value, column in zip(values.tolist(), resampled.T):
        column = column[~np.isnan(column)]
        low, high = np.percentile(column, ends).tolist() if len(column) else (np.nan, np.nan)
        intervals.append(Interval(value, low, high))
    return intervals


def _share(changes: np.ndarray) -> float:
    changes = changes[~np.isnan(changes)]
    return float((changes > 0).mean()) if len(changes) else float('nan')


def claim(differences: Differences, a: str, b: str, metric: str = 'mIoU') -> str:
    """Describe in a sentence what may be claimed about A and B.

    Args:
        differences: Differences from :func:`paired_difference`.
        a, b: Names of A and B.
        metric: A key of ``differences.overall``.
    """
    change = differences.overall[metric]
    if change.value != change.value:
        return f'Nothing may be claimed: {metric} has no value.'
    if change.value == change.low == change.high == 0:
        return f'{a} and {b} have the same {metric} on these images and on every resample of them.'
    ahead = f'{a} is ahead in {100 * differences.shares[metric]:.1f} % of resamples'
    images = f'{differences.images:,} image{"s" if differences.images != 1 else ""}'
    level = f'{differences.level:g} % interval'
    if differences.images >= FEW_IMAGES and change.excludes_zero():
        better, worse = (a, b) if change.value > 0 else (b, a)
        low, high = sorted([abs(change.low), abs(change.high)])
        return (
            f'{better} is better than {worse} on images like these, by {abs(change.value):.2f} '
            f'{metric} ({level} {low:.2f} to {high:.2f}, {images}); {ahead}.'
        )
    numbers = (
        f'{a} minus {b} is {change.value:+.2f} {metric} ({level} {change.low:+.2f} to '
        f'{change.high:+.2f}, {images}); {ahead}'
    )
    if differences.images < FEW_IMAGES:
        return f'Nothing may be claimed beyond these {images}, which are too few: {numbers}.'
    return f'Neither may be claimed to be better: {numbers}, and 0 lies within the interval.'


def plain(value: float | None) -> float | None:
    """A number for JSON; None for NaN."""
    return None if value is None or value != value else value
