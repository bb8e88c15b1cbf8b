"""Requirements, results and limits of families of methods."""

from collections.abc import Iterator
from typing import Any

from .datasets.benchmarks import BENCHMARKS
from .utils.shipped import read_yaml

_COLUMNS = (
    *('family', 'parameters', 'memory', 'time, 20 classes', 'time, 150 classes'),
    'published mIoU',
)


def compare() -> Iterator[str]:
    """Yield lines of Markdown: a table of the families, then requirements and limits of each."""
    facts, published = read_yaml('families.yml'), read_yaml('published.yml')
    rows = {row['name']: row for row in published['rows']}
    yield from _row(_COLUMNS)
    yield from _row(['---'] * len(_COLUMNS))
    for family in facts['families']:
        best = max(
            (rows[name]['mIoU'].get('average', 0) for name in family['published']), default=0
        )
        seconds = family.get('seconds', {})
        yield from _row(
            [
                family['name'],
                _with_unit(family.get('parameters'), ' M'),
                _with_unit(family.get('memory'), ' GB'),
                *(_with_unit(seconds.get(count), ' s') for count in (20, 150)),
                _with_unit(best or None, ''),
            ]
        )
    yield ''
    yield f'{facts["machine"]}.'
    yield ''
    yield 'Published mIoU is the best average listed below, over the eight usual benchmarks or over'
    yield 'those of remote sensing.'
    for family in facts['families']:
        yield from ('', f'## {family["name"]}', '')
        methods = ', '.join(f'`{name}`' for name in family['methods'])
        yield f'- **Methods**: {methods}; the table above is for `{family["shown"]}`.'
        needs = [_describe(facts['downloads'][key]) for key in family['downloads']]
        yield f'- **Needs**: {"; ".join(needs)}.'
        if measured := family.get('measured'):
            numbers = ', '.join(f'{key} {value}' for key, value in measured['values'].items())
            yield f'- **Measured** on a few photographs, {measured["method"]}: {numbers}.'
        yield f'- **Cannot**: {family["cannot"]}'
        yield ''
        yield from _published([rows[name] for name in family['published']], published['sources'])


def _published(rows: list[dict[str, Any]], sources: dict[str, dict[str, str]]) -> Iterator[str]:
    """Table of published numbers, a row per method and a column per benchmark."""
    keys = list(dict.fromkeys(key for row in rows for key in row['mIoU']))
    titles = [BENCHMARKS[key].column if key in BENCHMARKS else key for key in keys]
    yield from _row(['published mIoU', *titles])
    yield from _row(['---'] * (1 + len(keys)))
    for row in rows:
        cells = [str(row['mIoU'].get(key, '–')) for key in keys]
        yield from _row([f'[{row["name"]}]({sources[row["source"]]["url"]})', *cells])


def _row(cells: Any) -> Iterator[str]:
    yield f'| {" | ".join(cells)} |'


def _with_unit(value: float | None, unit: str) -> str:
    return '–' if value is None else f'{value}{unit}'


def _describe(download: dict[str, Any]) -> str:
    size = f'{download["megabytes"]} MB, ' if 'megabytes' in download else ''
    gated = ', gated' * download.get('gated', False)
    return f'{download["what"]} ({size}{download["licence"]}{gated})'
