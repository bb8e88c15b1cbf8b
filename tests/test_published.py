"""The table of published numbers is sound, and the pages and metafiles agree with it."""

import re
import statistics
import sys
from dataclasses import replace

import pytest
from helpers import ROOT, read_tables
from protocols import config_name

from sclip_mmseg.benchmark.published import load_published, published_row
from sclip_mmseg.datasets.benchmarks import BENCHMARKS, usual_benchmarks

sys.path.insert(0, str(ROOT / 'tools/misc'))

import make_metafiles

# COCO-Stuff 10k is of an earlier paper and in no table.
EIGHT = [name for name in usual_benchmarks() if name != 'coco_stuff10k']
COLUMNS = {**{BENCHMARKS[name].column: name for name in EIGHT}, 'average': 'average'}
ROWS = load_published()
METHOD_PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / 'docs/methods').glob('*.md')
    if path.stem != 'ablations'
)
MEASURED = [
    [cell.replace('*', '') for cell in line] for line in read_tables('docs/notes/photographs.md')[0]
]


def test_benchmarks_are_known():
    for row in ROWS:
        assert set(row.mIoU) <= {*BENCHMARKS, 'average'}, row.name
        assert {BENCHMARKS[name].queries[:3] for name in row.IoU} <= {'rs_'}, row.name
        values = [*row.mIoU.values(), *row.IoU.values()]
        assert values and all(0 < value < 100 for value in values)


def test_averages_are_those_of_the_numbers():
    """Averages are of rounded numbers; the note on TCL explains its average."""
    checked = [row for row in ROWS if {*EIGHT, 'average'} <= set(row.mIoU)]
    assert len(checked) == 33
    for row in checked:
        mean = statistics.mean(row.mIoU[name] for name in EIGHT)
        assert mean == pytest.approx(row.mIoU['average'], abs=0.0626), row.name


def test_rows_are_distinguished():
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names))
    targets = [
        config_name(row, b) for row in ROWS if row.configs for b in row.mIoU if b in BENCHMARKS
    ]
    assert len(targets) == len(set(targets))


def test_rows_with_configs_have_them():
    for row in ROWS:
        for benchmark in set(row.mIoU) - {'average'} if row.configs else ():
            name = config_name(row, benchmark)
            assert len(list(ROOT.glob(f'configs/*/{name}.py'))) == 1, name


def test_the_released_configuration_is_what_sclip_is_compared_with():
    row = published_row('sclip', 'vit-b16', 'voc21')
    assert (row.mIoU['voc21'], row.mIoU['coco_stuff10k']) == (59.63, 25.91)
    assert row.source.url == 'https://github.com/wangf3014/SCLIP'
    assert published_row('sclip', 'vit-l14', 'voc21') is None


def test_the_page_of_the_papers_tables_has_these_numbers():
    [(head, _, *lines)] = [
        table for table in read_tables('docs/reproducing.md') if 'average' in table[0]
    ]
    printed = {
        line[0]: {
            COLUMNS[title]: None if cell == '–' else float(cell)
            for title, cell in zip(head[1:], line[1:])
        }
        for line in lines
    }
    expected = {
        row.name: {name: row.mIoU.get(name) for name in COLUMNS.values()}
        for row in ROWS
        if row.name in printed or (row.configs and set(EIGHT) <= set(row.mIoU))
    }
    assert printed == expected


def test_the_page_has_the_numbers_of_remote_sensing():
    remote = [name for name, record in BENCHMARKS.items() if record.group == 'remote sensing']
    columns = {BENCHMARKS[name].column: name for name in remote}
    printed = {}
    for head, _, *lines in read_tables('docs/reproducing.md'):
        if set(head[1:]) <= {*columns}:
            for name, *cells in lines:
                numbers = {columns[t]: float(c) for t, c in zip(head[1:], cells) if c != '–'}
                printed.setdefault(name, {}).update(numbers)
    rows = [row for row in ROWS if set(row.mIoU) & set(remote)]
    published = {}
    for row in rows:
        numbers = dict(row.mIoU)
        if average := numbers.pop('average', None):
            mean = statistics.mean(numbers.values())
            assert mean == pytest.approx(average, abs=0.0626), row.name
        published[row.name] = {**numbers, **row.IoU}
    assert len(printed) == 7 and printed == published


@pytest.mark.parametrize('page', METHOD_PAGES)
def test_pages_of_methods_have_these_numbers(page):
    """Published ones from the table, measured ones from the page of photographs."""
    titles = {record.column: name for name, record in BENCHMARKS.items()} | COLUMNS
    for head, _, *lines in read_tables(page):
        if 'VOC21' not in head:
            continue
        if head[0] == 'method':
            assert [line[0] for line in lines if line not in MEASURED] == [], page
            continue
        for name, *cells in lines:
            [row] = [row for row in ROWS if row.name == name]
            numbers = {
                titles[title]: float(cell) for title, cell in zip(head[1:], cells) if cell != '–'
            }
            assert numbers == {n: v for n, v in row.mIoU.items() if n != 'coco_stuff10k'}, name


def test_the_page_of_ablations_has_their_numbers():
    [(head, _, *lines)] = read_tables('docs/methods/ablations.md')
    printed = {}
    for line in lines:
        cells = dict(zip(head, line))
        if cells['VOC21'] != '–':
            numbers = {key: float(cells[t]) for t, key in COLUMNS.items() if t in cells}
            printed[cells['config'].strip('`')] = numbers
    sclip = printed.pop('configs/sclip/')
    assert printed == {r.configs: r.mIoU for r in ROWS if (r.configs or '').startswith('ablation')}
    [paper] = [row for row in ROWS if row.name == 'SCLIP (paper)']
    assert sclip.items() <= paper.mIoU.items()


def test_an_outdated_metafile_is_named(monkeypatch, capsys):
    path, index = ROOT / 'configs/x/metafile.yml', ROOT / 'model-index.yml'
    files = {path: '', index: index.read_text()}
    monkeypatch.setattr(make_metafiles, 'make_files', lambda: files)
    with pytest.raises(SystemExit, match='True'):
        make_metafiles.main(['--check'])
    assert capsys.readouterr().out == 'outdated: configs/x/metafile.yml\n'
    assert not path.exists()


def test_unchecked_numbers_are_marked_in_the_metafiles():
    for row in ROWS:
        assert set(row.unchecked) <= set(row.mIoU), row.name
        assert row.configs or not row.unchecked, f'{row.name}: nothing here compares with it'
        assert 'memory' not in row.note
    said = [
        line
        for path in ROOT.glob('configs/*/metafile.yml')
        for line in re.findall(
            '# From memory, not compared with the source: (.*?)\\.\n[^#]', path.read_text(), re.S
        )
    ]
    named = {name for text in said for name in re.findall(r'\w[\w-]+_[\w-]+', text)}
    assert named == {
        config_name(row, name) for row in ROWS for name in row.unchecked if name != 'average'
    }


def test_metafiles_have_the_numbers_of_the_table(monkeypatch):
    row = replace(published_row('naclip', 'vit-b16', 'voc20'), mIoU=dict.fromkeys(EIGHT, 12.34))
    monkeypatch.setattr(make_metafiles, 'published_row', lambda *_: row)
    assert 'mIoU: 12.34' in make_metafiles.make_metafile('naclip')
