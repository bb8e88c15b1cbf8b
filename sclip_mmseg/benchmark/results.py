"""Tables of measured and published numbers by method and benchmark, in several formats."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mmengine

from ..evaluation import Result
from ..evaluation.settings import describe_settings
from ..utils.files import write_csv
from .tables import markdown_table


@dataclass
class Pair:
    """One method on one benchmark.

    Attributes:
        method, benchmark: Names of the method and the benchmark.
        config: Path of the config, relative to the folder of the shipped files.
        backbone: Name of the backbone in the names of configs, such as ``vit-b16``.
        status: ``done``, ``missing`` (no dataset), ``failed`` or ``open``.
        reason: Error message of a missing or failed pair.
        mIoU, aAcc, mAcc, mBIoU: Metrics in percent; ``mBIoU`` only with ``boundary_iou``.
        published: Published mIoU in percent; None if there is none.
        images: Number of evaluated images.
        seconds_per_image: Time without start-up; None if it was not measured.
        peak_memory: Peak memory of the first process in bytes, on the GPU if there is one; None on
            Windows.
        weights, queries: SHA-256 of the file of the CLIP or trained system, and of the query list
            or the file of its embeddings.
        circumstances: Versions, device and number of processes.
        names, protocol: Name list and protocol, keys of :mod:`.variants`.
        name_list, clip, settings: Description of name list, CLIP and protocol, once it is done.
        note: Settings that the method keeps under another protocol.
        options: Dotted keys → values that this pair sets in the config.
    """

    method: str
    benchmark: str
    config: str
    backbone: str = 'vit-b16'
    status: str = 'open'
    reason: str = ''
    mIoU: float | None = None
    aAcc: float | None = None
    mAcc: float | None = None
    mBIoU: float | None = None
    published: float | None = None
    images: int | None = None
    seconds_per_image: float | None = None
    peak_memory: int | None = None
    weights: str = ''
    queries: str = ''
    circumstances: dict[str, Any] = field(default_factory=dict)
    names: str = 'official'
    protocol: str = 'own'
    name_list: str = ''
    clip: str = ''
    settings: str = ''
    note: str = ''
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the pair's folder and files."""
        parts = [self.method, *self._variant]
        return '_'.join(filter(None, ['-'.join(parts), self.backbone, self.benchmark]))

    @property
    def row(self) -> str:
        """Name of the pair's row in tables: the method, with a changed name list or protocol."""
        words = {'plain': 'plain names', 'one': 'one protocol'}
        return ', '.join([self.method, *(words[word] for word in self._variant)])

    @property
    def _variant(self) -> list[str]:
        pairs = ((self.names, 'official'), (self.protocol, 'own'))
        return [value for value, usual in pairs if value != usual]

    def fill_in(self, result: Result) -> None:
        """Fill in the numbers of a finished evaluation."""
        self.status = 'done'
        for name, value in result.metrics().items():
            setattr(self, name, None if value != value else value)
        meta = result.meta
        self.seconds_per_image = meta.get('seconds_per_image')
        self.peak_memory = meta.get('peak_memory')
        about = ('versions', 'python', 'device', 'processes')
        self.circumstances = {key: meta[key] for key in about if key in meta}
        settings = describe_settings(result)
        self.name_list, self.clip = settings['name list'], settings['CLIP']
        self.settings = settings['protocol']

    @property
    def difference(self) -> float | None:
        """Measured minus published mIoU; None if one of them is missing."""
        if self.mIoU is None or self.published is None:
            return None
        return round(self.mIoU - self.published, 2)


def write_results(folder: Path, results: Sequence[Pair], about: dict[str, Any]) -> None:
    """Write ``results.md``, ``results.csv``, ``results.json`` and ``results.png``.

    Args:
        folder: An existing folder.
        results: Pairs in the order of the rows.
        about: Facts about all pairs, such as options.
    """
    rows = [dict(asdict(result), difference=result.difference) for result in results]
    for row in rows:
        del row['options']
    mmengine.dump(dict(about=about, results=rows), folder / 'results.json', indent=1)
    lines = [dict(row, **row['circumstances']) for row in rows]
    for line in lines:
        del line['circumstances']  # each is a separate column
    write_csv(folder / 'results.csv', lines)
    (folder / 'results.md').write_text(to_markdown(results, about), encoding='utf-8')
    draw_results(results, folder / 'results.png')


def write_classes(folder: Path, name: str, classes: dict[str, dict[str, float | None]]) -> None:
    """Write IoU and accuracy of each class to ``NAME.csv``.

    Args:
        folder: Created if missing.
        name: Name of the pair.
        classes: Class name → ``IoU`` and ``Acc`` in percent.
    """
    folder.mkdir(exist_ok=True)
    rows = [{'class': kind, **values} for kind, values in classes.items()]
    write_csv(folder / f'{name}.csv', rows)


def to_markdown(results: Sequence[Pair], about: dict[str, Any]) -> str:
    """Format a table of mIoU, one of time and memory, and lists of missing and failed pairs."""
    methods = list(dict.fromkeys(result.row for result in results))
    benchmarks = list(dict.fromkeys(result.benchmark for result in results))
    found = {(result.row, result.benchmark): result for result in results}
    cells = [
        [method, *(_cell(found.get((method, benchmark))) for benchmark in benchmarks)]
        for method in methods
    ]
    text = ['mIoU in percent: measured (published, difference where it is the same task).', '']
    text += markdown_table(['', *benchmarks], cells)
    done = [result for result in results if result.status == 'done']
    if done:
        text += ['', 'Settings of the measured numbers:', '']
        text += markdown_table(['', 'name list', 'CLIP', 'protocol', 'note'], map(_with, done))
        head = ['', 'mBIoU', 'images', 's / image', 'peak memory / GB']
        rows = [head, *map(_cost, done)]
        if all(result.mBIoU is None for result in done):
            rows = [[name, *cells] for name, _, *cells in rows]
        text += ['', *markdown_table(rows[0], rows[1:])]
    for status, title in (('missing', 'No dataset'), ('failed', 'Failed'), ('open', 'Not yet run')):
        lines = {
            f'- {result.benchmark}: {result.reason}'
            if status == 'missing'
            else f'- {result.row}, {result.benchmark}{": " * bool(result.reason)}{result.reason}'
            for result in results
            if result.status == status
        }
        text += ['', f'{title}:', '', *sorted(lines)] if lines else []
    text += ['', *(f'- {key}: {value}' for key, value in about.items())]
    for key in dict.fromkeys(key for result in done for key in result.circumstances):
        values = dict.fromkeys(str(result.circumstances[key]) for result in done)
        text.append(f'- {key}: {" | ".join(values)}')
    return '\n'.join(text) + '\n'


def _cell(result: Pair | None) -> str:
    if result is None:
        return ''
    published = '' if result.published is None else f'{result.published:g}'
    if result.mIoU is None:
        return f'– ({published})' if published else '–'
    if not published:
        return f'{result.mIoU:.2f}'
    return f'{result.mIoU:.2f} ({published}, {result.difference:+.2f})'


def _with(result: Pair) -> list[str]:
    about = (result.name_list, result.clip, result.settings, result.note)
    return [f'{result.row}, {result.benchmark}', *about]


def _cost(result: Pair) -> list[str]:
    seconds = result.seconds_per_image
    return [
        f'{result.row}, {result.benchmark}',
        '' if result.mBIoU is None else f'{result.mBIoU:.2f}',
        f'{result.images}',
        '' if seconds is None else f'{seconds:.3f}',
        '' if result.peak_memory is None else f'{result.peak_memory / 1e9:.2f}',
    ]


def draw_results(results: Sequence[Pair], target: Path) -> None:
    """Draw measured mIoU as bars, grouped by benchmark, and published mIoU as marks."""
    import matplotlib
    from matplotlib.figure import Figure

    methods = list(dict.fromkeys(result.row for result in results))
    benchmarks = list(dict.fromkeys(result.benchmark for result in results))
    colors = matplotlib.colormaps['tab20'](range(20))
    figure = Figure(figsize=(max(5, 1 + 0.22 * len(results)), 4), layout='constrained')
    axes = figure.subplots()
    width = 0.8 / len(methods)
    for number, method in enumerate(methods):
        rows = [r for r in results if r.row == method]
        places = [benchmarks.index(r.benchmark) - 0.4 + width * (number + 0.5) for r in rows]
        axes.bar(
            places, [r.mIoU or 0 for r in rows], width, label=method, color=colors[number % 20]
        )
        marks = [(x, r.published) for x, r in zip(places, rows) if r.published is not None]
        label = 'published' if marks and not number else None
        axes.plot(*(zip(*marks) if marks else ((), ())), 'k_', label=label)
    axes.set_xticks(range(len(benchmarks)), benchmarks)
    axes.set_ylabel('mIoU / %')
    axes.grid(axis='y', alpha=0.3)
    figure.legend(loc='outside upper center', ncols=4, fontsize='small')
    figure.savefig(target, dpi=150)
