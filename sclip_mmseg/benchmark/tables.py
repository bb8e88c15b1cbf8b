"""Tables of several results on the same images: CSV, Markdown, LaTeX and JSON."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..evaluation import Result
from ..evaluation.settings import STATED, describe_settings
from ..evaluation.statistics import METRICS, plain
from ..utils.files import write_atomically

_ESCAPES = str.maketrans(
    {
        **{char: f'\\{char}' for char in '&%$#_{}'},
        **{'\\': r'\textbackslash{}', '~': r'\textasciitilde{}', '^': r'\textasciicircum{}'},
    }
)


def write_tables(results: Mapping[str, Result], folder: Path, about: Mapping[str, str]) -> str:
    """Write ``results.csv``, ``results.md``, ``results.tex`` and ``results.json``.

    Values are in percent. Classes without pixels have no value: empty in CSV, a dash in Markdown
    and LaTeX, null in JSON.

    Args:
        results: Name of a method → its result, all with the same classes.
        folder: An existing folder.
        about: Facts about all results.

    Returns:
        The content of ``results.md``.
    """
    text = to_markdown(results, about)
    for name, content in (
        ('results.md', text),
        ('results.csv', to_csv(results)),
        ('results.tex', to_latex(results)),
        ('results.json', to_json(results, about)),
    ):
        write_atomically(folder / name, content.encode())
    return text


def metrics_of(results: Mapping[str, Result]) -> list[str]:
    """Names of the metrics of all results, with ``mBIoU`` if all counted boundaries."""
    counted = all(result.boundary is not None for result in results.values())
    return [*METRICS, *(['mBIoU'] if counted else [])]


def to_csv(results: Mapping[str, Result]) -> str:
    """Format a row per method: metrics, settings, and the IoU of each class."""
    first = next(iter(results.values()))
    classes = [f'IoU {name}' for name in first.class_names]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    names = metrics_of(results)
    writer.writerow(['method', *names, 'images', *STATED, *classes])
    for name, result in results.items():
        settings = describe_settings(result)
        metrics = [plain(getattr(result, metric)) for metric in names]
        about = [settings.get(key, '') for key in STATED]
        values = [plain(value) for value in result.IoU.tolist()]
        writer.writerow([name, *metrics, len(result.images), *about, *values])
    return text.getvalue()


def to_json(results: Mapping[str, Result], about: Mapping[str, str]) -> str:
    """Format all numbers and settings."""
    rows = [
        dict(
            method=name,
            **{metric: plain(getattr(result, metric)) for metric in metrics_of(results)},
            images=len(result.images),
            classes=result.by_class(),
            settings=describe_settings(result),
        )
        for name, result in results.items()
    ]
    content = dict(about=dict(about), results=rows)
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + '\n'


def to_markdown(results: Mapping[str, Result], about: Mapping[str, str]) -> str:
    """Format a table of metrics and settings, and one of IoU by class."""
    names = metrics_of(results)
    head = ['method', *names, *STATED]
    rows = []
    for name, result in results.items():
        settings = describe_settings(result)
        metrics = [_cell(getattr(result, metric)) for metric in names]
        rows.append([name, *metrics, *(settings.get(key, '') for key in STATED)])
    lines = ['In percent.', '', *markdown_table(head, rows), '', 'IoU of each class:', '']
    lines += markdown_table(['class', *results], _by_class(results))
    lines += ['', *(f'- {key}: {value}' for key, value in about.items())]
    return '\n'.join(lines) + '\n'


def to_latex(results: Mapping[str, Result]) -> str:
    """Format two tables for the package booktabs, with the best values in bold."""
    metrics = metrics_of(results)
    columns = [[getattr(result, metric) for result in results.values()] for metric in metrics]
    marked = zip(*(_mark(column) for column in columns))
    rows = [[name.translate(_ESCAPES), *cells] for name, cells in zip(results, marked)]
    lines = _tabular(['', *metrics], rows)
    first = next(iter(results.values()))
    values = zip(*(result.IoU.tolist() for result in results.values()))
    rows = [[name.translate(_ESCAPES), *_mark(row)] for name, row in zip(first.class_names, values)]
    names = [name.translate(_ESCAPES) for name in results]
    return '\n'.join([*lines, '', *_tabular(['IoU', *names], rows)]) + '\n'


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; bars in cells are escaped."""
    lines = [head, ['---'] * len(head), *rows]
    return ['| ' + ' | '.join(cell.replace('|', '\\|') for cell in line) + ' |' for line in lines]


def _by_class(results: Mapping[str, Result]) -> list[list[str]]:
    first = next(iter(results.values()))
    columns = [[_cell(value) for value in result.IoU.tolist()] for result in results.values()]
    return [list(row) for row in zip(first.class_names, *columns)]


def _tabular(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        rf'\begin{{tabular}}{{l{"r" * (len(head) - 1)}}}',
        r'\toprule',
        ' & '.join(head) + r' \\',
        r'\midrule',
        *(' & '.join(row) + r' \\' for row in rows),
        r'\bottomrule',
        r'\end{tabular}',
    ]


def _mark(values: Sequence[float]) -> list[str]:
    """Format values for LaTeX, with the largest (after rounding) in bold."""
    cells = [f'{value:.2f}' if value == value else '--' for value in values]
    best = max((float(cell) for cell in cells if cell != '--'), default=None)
    several = sum(cell != '--' for cell in cells) > 1
    return [
        rf'\textbf{{{cell}}}' if several and cell != '--' and float(cell) == best else cell
        for cell in cells
    ]


def _cell(value: float) -> str:
    return f'{value:.2f}' if value == value else '–'
