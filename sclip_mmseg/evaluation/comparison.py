"""Comparison of results on the same images, the content of text, tables and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from .confusion import Confusion, image_scores, largest_confusions
from .result import Result
from .settings import differing_parts
from .statistics import (
    Differences,
    Intervals,
    align,
    bootstrap,
    claim,
    difference_of_aligned,
)

_CONFUSIONS = 8
_PER_KIND, _MOST = 6, 60  # images per kind, and about the most images of all kinds


@dataclass(frozen=True)
class Comparison:
    """Results on the same images, with intervals, differences and confusions.

    Attributes:
        results: Name → result, all with the images in the same order.
        intervals: Name → intervals of its metrics.
        differences: Pair of names → intervals of the first minus the second, for all pairs.
        claims: Pair of names → sentences on what may be claimed, and which settings differ.
        confusions: Name → the largest confusions of two classes.
        oracles: A sentence on each oracle.
    """

    results: Mapping[str, Result]
    intervals: Mapping[str, Intervals]
    differences: Mapping[tuple[str, str], Differences]
    claims: Mapping[tuple[str, str], list[str]]
    confusions: Mapping[str, list[Confusion]]
    oracles: Sequence[str]

    @classmethod
    def of(
        cls,
        results: Mapping[str, Result],
        oracles: Mapping[str, Mapping[str, Result]] | None = None,
    ) -> Comparison:
        """Compare results.

        Args:
            results: Name → result.
            oracles: Name of a result → name of an oracle (:mod:`.oracles`) → its result.

        Raises:
            InputError: If results differ in images, classes or labels.
        """
        (first, a), *others = results.items()
        results = {first: a, **{name: align(a, b, (first, name)) for name, b in others}}
        differences = {
            (one, two): difference_of_aligned(results[one], results[two])
            for one, two in combinations(results, 2)
        }
        claims = {}
        for (one, two), difference in differences.items():
            other = differing_parts(results[one], results[two])
            claims[one, two] = [claim(difference, one, two)]
            claims[one, two] += [f'They differ in {other}.'] if other else []
        sentences = [
            _describe_oracle(oracle, name, reached, align(reached, results[name]))
            for name, known in (oracles or {}).items()
            for oracle, reached in known.items()
        ]
        return cls(
            results,
            {name: bootstrap(result) for name, result in results.items()},
            differences,
            claims,
            {name: largest_confusions(result, _CONFUSIONS) for name, result in results.items()},
            [sentence for sentence in sentences if sentence],
        )

    @property
    def images(self) -> list[str]:
        """Names of the images."""
        return next(iter(self.results.values())).images

    @property
    def class_names(self) -> list[str]:
        """Names of the classes."""
        return next(iter(self.results.values())).class_names

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics of any result."""
        return [*dict.fromkeys(key for each in self.intervals.values() for key in each.overall)]

    def by_chance(self) -> str:
        """How many of the pairs' intervals exclude 0 by chance; empty for a single pair."""
        if len(self.differences) < 2:
            return ''
        count = len(self.differences)
        return (
            f'Of {count} such intervals, {0.05 * count:.1f} exclude 0 by chance if nothing differs.'
        )

    @cached_property
    def scores(self) -> dict[str, np.ndarray]:
        """Name → mean IoU of each image, see :func:`.confusion.image_scores`."""
        return {name: image_scores(result) for name, result in self.results.items()}

    def describe_image(self, index: int) -> str:
        """An image's name, and its mean IoU by result."""
        words = (f'{name} {number(values[index])}' for name, values in self.scores.items())
        return f'{self.images[index]}: {", ".join(words)}'

    def choose_images(self) -> dict[str, list[int]]:
        """Choose the images to show.

        Returns:
            Heading → indices of images in order: for each pair those with the largest gains and
            losses, then for each result the best and the worst.
        """
        kinds = {}
        for a, b in [*self.differences][: max(1, _MOST // 2 - len(self.scores))]:
            change = self.scores[a] - self.scores[b]
            kinds[f'{a} gains most over {b}'] = np.where(change > 0, -change, np.nan)
            kinds[f'{a} loses most to {b}'] = np.where(change < 0, change, np.nan)
        for name, values in self.scores.items():
            kinds.update({f'Best of {name}': -values, f'Worst of {name}': values})
        count = max(1, min(_PER_KIND, _MOST // len(kinds)))
        chosen = {
            heading: [
                i for i in order.argsort(kind='stable')[:count].tolist() if order[i] == order[i]
            ]
            for heading, order in kinds.items()
        }
        return {heading: places for heading, places in chosen.items() if places}


def number(value: float, signed: bool = False) -> str:
    """Format a number with two decimals; a dash for NaN."""
    if value != value:
        return '–'
    return f'{value:+.2f}'.replace('-', '−') if signed else f'{value:.2f}'


def _describe_oracle(oracle: str, name: str, reached: Result, result: Result) -> str:
    """Describe an oracle's result as a sentence; empty for unknown oracles."""
    change = difference_of_aligned(reached, result).overall['mIoU']
    more = f'{change.value:+.2f} (95 % interval {change.low:+.2f} to {change.high:+.2f})'
    return {
        'regions': f'If each region had the best of all classes: {reached.mIoU:.2f} mIoU, {more} '
        f'against {name}; their outlines cost {100 - reached.mIoU:.2f}.',
        'known-classes': f'If {name} knew the classes of each image: {reached.mIoU:.2f} mIoU, '
        f'{more}: this is what telling names apart costs.',
    }.get(oracle, '')
