"""The published numbers, all in one table."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from mmengine.fileio import load

from ..utils.shipped import configs_dir


@dataclass(frozen=True)
class Source:
    """A paper or program that publishes numbers."""

    title: str
    url: str


@dataclass(frozen=True)
class PublishedRow:
    """A row of somebody's table.

    Attributes:
        name: As the README prints it.
        backbone: As in the names of configs, ``vit-b16``; empty where they have none.
        source: Where it is published.
        mIoU: By benchmark, in percent; ``average`` is the printed one.
        IoU: By benchmark of one class and a background, of that class.
        configs: Name, up to the backbone, of the configs that are to give it; None where there
            are none.
        unchecked: Benchmarks whose number is from memory, not compared with the source.
        note: What else to know about it.
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
    """Read ``configs/published.yml``, once."""
    table = load(configs_dir() / 'published.yml')
    sources = {key: Source(**value) for key, value in table['sources'].items()}
    rows = ({**row, 'source': sources[row['source']]} for row in table['rows'])
    return tuple(PublishedRow(**row) for row in rows)


def published_row(method: str, backbone: str, benchmark: str) -> PublishedRow | None:
    """The row whose number a method's config for a benchmark is to give, None if there is none.

    Args:
        method: Name of the configs up to the backbone, such as ``resclip-naclip``.
        backbone: ``vit-b16``, for instance; empty for a system that has an only one.
        benchmark: Name of the benchmark.
    """
    for row in load_published():
        if (row.configs, row.backbone) == (method, backbone) and benchmark in row.mIoU:
            return row
    return None


_BACKBONE = re.compile(r'(vit-[^_]+|toy)_(.+)')


def split_name(config: str) -> tuple[str, str, str]:
    """Method, backbone (empty where there is none) and benchmark in the name of a config."""
    method, _, rest = config.partition('_')
    match = _BACKBONE.fullmatch(rest)
    return (method, match[1], match[2]) if match else (method, '', rest)
