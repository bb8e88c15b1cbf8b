"""Requirements, results and limits of families of methods."""

from collections.abc import Iterator
from typing import Any

from .utils.shipped import configs_dir

_COLUMNS = 'family', 'parameters', 'memory', '20 classes', '150 classes', 'published mIoU'


def load_families() -> dict[str, Any]:
    """The content of ``configs/families.yml``."""
    return _read('families.yml')


def compare() -> Iterator[str]:
    """Yield lines of Markdown: a table of the families, then requirements and limits of each."""
    facts, published = load_families(), _read('published.yml')
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
    yield f'{facts["machine"]}. Published mIoU: the best average listed below, over the eight'
    yield 'benchmarks except for remote sensing.'
    for family in facts['families']:
        yield from ('', f'## {family["name"]}', '')
        methods = ', '.join(f'`{name}`' for name in family['methods'])
        yield f'- **Methods**: {methods}; in the table `{family["shown"]}`.'
        needs = [_describe(facts['downloads'][key]) for key in family['downloads']]
        yield f'- **Needs**: {"; ".join(needs)}.'
        for name in family['published']:
            source = published['sources'][rows[name]['source']]
            numbers = ', '.join(f'{key} {value}' for key, value in rows[name]['mIoU'].items())
            yield f'- **Published**, {name}: {numbers} ([{source["title"]}]({source["url"]})).'
        if measured := family.get('measured'):
            numbers = ', '.join(f'{key} {value}' for key, value in measured['values'].items())
            yield f'- **Measured** on few photographs, {measured["method"]}: {numbers}.'
        yield f'- **Cannot**: {family["cannot"]}'


def _read(name: str) -> dict[str, Any]:
    import yaml

    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
    with open(configs_dir() / name, encoding='utf-8') as file:
        return yaml.load(file, loader)


def _row(cells: Any) -> Iterator[str]:
    yield f'| {" | ".join(cells)} |'


def _with_unit(value: float | None, unit: str) -> str:
    return '–' if value is None else f'{value}{unit}'


def _describe(download: dict[str, Any]) -> str:
    size = f'{download["megabytes"]} MB, ' if 'megabytes' in download else ''
    gated = ', gated' * download.get('gated', False)
    return f'{download["what"]} ({size}{download["licence"]}{gated})'
