"""The pages of the methods have one structure, and schematics that are legible and up to date."""

import re
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import yaml
from helpers import ROOT
from matplotlib.font_manager import FontProperties, findfont
from PIL import ImageFont

from sclip_mmseg.registry import METHODS

sys.path.insert(0, str(ROOT / 'tools/misc'))

import make_method_figures as figures

TABLE = figures.read_table()
PAGES = sorted((ROOT / 'docs/methods').glob('*.md'))
LAST_BLOCK = {
    name: entry['last_block']
    for name, entry in yaml.safe_load(figures.TABLE.read_text(encoding='utf-8')).items()
    if 'last_block' in entry and name not in ('last_block', 'maskclip', 'pearl')
}
CLASSES = {
    kind.lower(): kind for kind in ('CLIP', 'SCLIP', 'ClearCLIP', 'NACLIP', 'SegEarth', 'MaskCLIP')
}


def test_figures_are_as_the_table_says():
    drawn = figures.make_figures()
    there = {path: path.read_text(encoding='utf-8') for path in figures.FOLDER.iterdir()}
    assert there == drawn, 'run tools/misc/make_method_figures.py'
    assert all(len(text.encode()) < 20_000 for text in drawn.values())


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_each_page_shows_its_figure(page):
    name = 'last_block' if page.stem == 'index' else page.stem
    shown = re.findall(r'!\[([^]]*)\]\(\.\./images/methods/(\w+)\.svg\)', page.read_text('utf-8'))
    assert shown == [(TABLE[name].title, name)]


@pytest.mark.parametrize(
    'page',
    [page for page in PAGES if page.stem not in ('index', 'ablations')],
    ids=lambda p: p.stem,
)
def test_pages_have_one_structure(page):
    headings = re.findall('^## (.*)', page.read_text('utf-8'), re.M)
    differences = "Differences from the authors' program"
    expected = ['Formula', 'Config and command', differences, 'Numbers', 'Limits', 'Licence']
    assert [name for name in headings if name != 'Weights'] == expected


def test_each_figure_is_of_a_page():
    assert set(TABLE) == {page.stem for page in PAGES} - {'index'} | {'last_block'}


@pytest.mark.parametrize('name', TABLE)
def test_boxes_hold_their_texts_and_stand_apart(name):
    figure = TABLE[name]
    width, height = figures.lay_out(figure)
    boxes = list(figure.boxes.values())
    for weight in ('normal', 'bold'):
        path = findfont(FontProperties(family='DejaVu Sans', weight=weight))  # the widest
        font = ImageFont.truetype(path, figures.SIZE)
        for box in boxes:
            lines = box.lines[1:] if weight == 'normal' else box.lines[:1]
            assert all(font.getlength(line) <= box.width - 6 for line in lines), box.lines
    for number, box in enumerate(boxes):
        assert box.x >= 0 and box.top >= 0 and box.right < width and box.bottom < height
        for other in boxes[:number]:
            apart = box.x - other.right, other.x - box.right, box.top - other.bottom
            assert max(*apart, other.top - box.bottom) >= 8, (box.lines, other.lines)
    ElementTree.fromstring(figures.draw(figure))


@pytest.mark.parametrize('name', LAST_BLOCK)
def test_last_blocks_are_those_of_the_code(name):
    """Compare which of q, k and v are correlated, and whether residual and MLP stay."""
    method = METHODS.build(dict(type=CLASSES[name]))
    tokens = SimpleNamespace(q='q', k='k', v='v')
    assert [' '.join(pair) for pair in method.pairs(tokens)] == LAST_BLOCK[name]['maps']
    assert method.keep_residual == LAST_BLOCK[name]['residual']


def test_an_outdated_figure_is_named(monkeypatch, capsys):
    monkeypatch.setattr(figures, 'make_figures', lambda: {ROOT / 'docs/images/none/x.svg': ''})
    with pytest.raises(SystemExit, match='True'):
        figures.main(['--check'])
    assert capsys.readouterr().out == 'outdated: docs/images/none/x.svg\n'
    assert not (ROOT / 'docs/images/none').exists()


def test_mistakes_in_the_table(tmp_path, monkeypatch):
    table = tmp_path / 'figures.yml'
    monkeypatch.setattr(figures, 'TABLE', table)
    table.write_text('x: {title: X, boxes: {a: [0, 0, clip, A]}, arrows: [a > b]}')
    with pytest.raises(KeyError, match='b'):
        figures.read_table()
    wide = 'W' * 90
    table.write_text(f'x: {{title: X, boxes: {{a: [0, 0, clip, {wide}]}}, arrows: []}}')
    with pytest.raises(ValueError, match='X: .* pixels are too wide, shorten its texts'):
        figures.make_figures()
