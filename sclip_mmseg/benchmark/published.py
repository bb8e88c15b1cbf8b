"""The table of published numbers, ``configs/published.yml``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from ..utils.shipped import read_yaml


@dataclass(frozen=True)
class Source:
    """A paper or program that publishes numbers."""

    title: str
    url: str


@dataclass(frozen=True)
class PublishedRow:
    """A row of a published table.

    Attributes:
        name: Name of the row in ``docs/reproducing.md``.
        backbone: Name of the backbone in the names of configs, such as ``vit-b16``; empty if they
            have none.
        source: Paper or program that publishes the numbers.
        mIoU: Benchmark → mIoU in percent; ``average`` is the printed one.
        IoU: Benchmark with one class and a background → IoU of that class in percent.
        configs: Name, up to the backbone, of the configs that should reproduce the numbers; None
            if there are none.
        unchecked: Benchmarks whose number is from memory, not compared with the source.
        note: Remarks.
    """

    name: str
    backbone: str
    source: Source
    mIoU: dict[str, float] = field(default_factory=dict)
    IoU: dict[str, float] = field(default_factory=dict)
    configs: str | None = None
    unchecked: Sequence[str] = ()
    note: str = ''


@cache
def load_published() -> tuple[PublishedRow, ...]:
    """Read ``configs/published.yml``; cached."""
    table = read_yaml('published.yml')
    sources = {key: Source(**value) for key, value in table['sources'].items()}
    rows = ({**row, 'source': sources[row['source']]} for row in table['rows'])
    return tuple(PublishedRow(**row) for row in rows)


def published_row(method: str, backbone: str, benchmark: str) -> PublishedRow | None:
    """The row that a method's config for a benchmark should reproduce; None if there is none.

    Args:
        method: Name of the configs up to the backbone, such as ``resclip-naclip``.
        backbone: Such as ``vit-b16``; empty for a system with only one.
        benchmark: Name of the benchmark.
    """
    for row in load_published():
        if (row.configs, row.backbone) == (method, backbone) and benchmark in row.mIoU:
            return row
    return None


_BACKBONE = re.compile(r'(vit-[^_]+|toy)_(.+)')


def split_name(config: str) -> tuple[str, str, str]:
    """Split the name of a config into method, backbone (may be empty) and benchmark."""
    method, _, rest = config.partition('_')
    match = _BACKBONE.fullmatch(rest)
    return (method, match[1], match[2]) if match else (method, '', rest)
