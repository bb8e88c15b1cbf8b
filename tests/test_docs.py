"""Links, anchors, paths and quoted messages in the docs are valid."""

import re
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import torch
from filelock import FileLock
from helpers import ROOT
from markdown_it import MarkdownIt

from sclip_mmseg import InputError
from sclip_mmseg.towers import read_tensors
from sclip_mmseg.utils import compat, files

PAGES = [
    page
    for pattern in (
        '*.md',
        'docs/**/*.md',
        'data/*.md',
        'data/toy/*.md',
        'demo/*.md',
        'tests/**/*.md',
        'tools/**/*.md',
    )
    for page in sorted(ROOT.glob(pattern))
]
#: Official sites that are linked to by http.
HTTP_ONLY = ('host.robots.ox.ac.uk', 'sceneparsing.csail.mit.edu')
#: Files of this repository in commands and prose; names with a placeholder do not match.
FILES = re.compile(
    r'(?<![\w./<>{}-])((?:configs|data|demo|docs|sclip_mmseg|tests|tools)/[\w./-]+'
    r'\.(?:py|sh|md|ipynb|jpg|png|safetensors|txt))(?![\w<{])'
)


def parse(page):
    return MarkdownIt('commonmark').enable('table').parse(page.read_text(encoding='utf-8'))


def walk(tokens):
    for token in tokens:
        yield token
        yield from walk(token.children or [])


def links(page):
    """Targets of the links and images of a page."""
    for token in walk(parse(page)):
        target = token.attrGet('href') or token.attrGet('src')
        if target:
            yield str(target)


def anchors(page):
    """Anchors of a page's headings, as GitHub makes them."""
    tokens = parse(page)
    found = []
    for opening, inline in zip(tokens, tokens[1:]):
        if opening.type == 'heading_open':
            parts = walk(inline.children)
            text = ''.join(part.content for part in parts if part.type in ('text', 'code_inline'))
            slug = re.sub(r'[^\w\- ]', '', text.lower()).replace(' ', '-')
            found.append(slug + (f'-{found.count(slug)}' if slug in found else ''))
    return found


def problem(page, target):
    """The problem with a link, or None."""
    parts = urlsplit(target)
    if parts.scheme:
        secure = parts.scheme == 'https' or parts.netloc in HTTP_ONLY
        good = secure and re.fullmatch(r'[\w-]+(\.[\w-]+)+', parts.netloc)
        return None if good and ' ' not in target else 'is not an https address'
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not path.is_relative_to(ROOT):
        return 'leads out of the repository'
    if not path.exists():
        return 'does not exist'
    if parts.fragment and (path.suffix != '.md' or parts.fragment not in anchors(path)):
        return 'has no such heading'
    return None


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page):
    assert {target: problem(page, target) for target in links(page) if problem(page, target)} == {}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_in_commands(page):
    code = [
        t.content for t in walk(parse(page)) if t.type in ('fence', 'code_block', 'code_inline')
    ]
    named = {match for text in code for match in FILES.findall(text)}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_pages_are_found():
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert {'README.md', 'CONTRIBUTING.md', 'data/toy/README.md', 'docs/own_classes.md'} <= names


def test_every_page_can_be_reached():
    """All pages are reached from the README by links."""
    reached, new = set(), {ROOT / 'README.md'}
    while new:
        reached |= new
        targets = [(page, urlsplit(target)) for page in new for target in links(page)]
        paths = {(page.parent / part.path).resolve() for page, part in targets if not part.scheme}
        new = {path for path in paths if path.suffix == '.md'} - reached
    assert set((ROOT / 'docs').rglob('*.md')) <= reached


#: Some words that the pages avoid; they say: available, resumes, package layout, user errors.
STIFF = re.compile(r'\bat hand\b|\bgo(es)? on\b|^#+ Rooms|can mend|read once more', re.M | re.I)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_plain_words(page):
    assert [match[0] for match in STIFF.finditer(page.read_text(encoding='utf-8'))] == []


def test_the_site_shows_every_page():
    """Else `make docs` fails: add a new page to the `nav` of mkdocs.yml."""
    nav = (ROOT / 'mkdocs.yml').read_text(encoding='utf-8').partition('\nnav:')[2]
    shown = re.findall(r'- (?:.*: )?([\w/]+\.md)', nav)
    assert len(shown) == len(set(shown))
    pages = {path.relative_to(ROOT / 'docs').as_posix() for path in ROOT.glob('docs/**/*.md')}
    assert pages - set(shown) == set()


@pytest.fixture
def run_python(tmp_path, monkeypatch):
    """Execute the Python blocks below a heading of a page and return their names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data').symlink_to(ROOT / 'data')

    def run(page, below):
        names = {}
        tokens = parse(ROOT / page)
        headings = [i for i, t in enumerate(tokens) if t.type == 'heading_open']
        start = next(i for i in headings if tokens[i + 1].content == below)
        end = next((i for i in headings if i > start), None)
        for token in tokens[start:end]:
            if token.type == 'fence' and token.info == 'python':
                exec(token.content, names)
        return names

    return run


def test_python_of_own_classes_runs(tmp_path, run_python):
    names = run_python('docs/own_classes.md', 'Python')
    assert list(names['result'].areas) == ['background', 'sheep', 'bottle', 'cow', 'television']
    assert (tmp_path / 'segmented/toy_000003_overlay.jpg').is_file()
    assert names['overlay'].dtype == 'uint8'


def test_python_of_label_tools_runs(tmp_path, run_python):
    names = run_python('docs/label_tools.md', 'Python')
    assert names['result'].masks()['sheep'].any()
    assert {path.name for path in (tmp_path / 'segmented').iterdir()} == {
        *('toy_000003_overlay.jpg', 'coco.json', 'areas.csv')
    }
    item, record = SimpleNamespace(image=np.zeros((3, 4, 3))), SimpleNamespace(file='x.jpg')
    writer = names['SizesWriter']()
    writer.finish([(record, writer.write(item))], [], tmp_path)
    assert (tmp_path / 'sizes.txt').read_text(encoding='utf-8') == 'x.jpg: 3×4'


def test_python_of_troubleshooting_runs(run_python):
    below = 'How do I use it inside another model, or fine-tune it?'
    names = run_python('docs/troubleshooting.md', below)
    assert names['features'].shape[:3] == (2, 14, 20)
    assert names['cosines'].shape == (2, 2, 14, 20)
    encoder = names['model'].image_encoder
    assert all(parameter.grad is not None for parameter in encoder.parameters())


#: Texts in italics in docs/troubleshooting.md that are not messages of this package.
THIRD_PARTY = (
    *('cannot open shared object file', 'No module named', 'WeightsUnpickler error'),
    *('CLIPSegmentor is not in the', 'mmengine::model', 'mmdet::model', 'Invalid generic resource'),
    *('original', 'files'),
)


def test_troubleshooting_quotes_the_messages(tmp_path, monkeypatch):
    """The page quotes each message as the package prints it; … and numbers stand for anything."""
    tokens = list(walk(parse(ROOT / 'docs/troubleshooting.md')))
    starts = [i for i, token in enumerate(tokens) if token.type == 'em_open']
    quotes = [tokens[i + 1].content for i in starts]
    patterns = {
        re.sub(r'\d+', r'\\d+', re.escape(quote)).replace('…', '.*')
        for quote in quotes
        if not quote.startswith(THIRD_PARTY)
    }
    messages = []
    with pytest.raises(ImportError) as error:
        compat._MissingExtension('mmcv._ext').nms()
    messages.append(str(error.value))
    torch.save(torch.nn.Linear(2, 2), tmp_path / 'model.pt')
    with pytest.raises(InputError) as error:
        read_tensors(tmp_path / 'model.pt')
    messages.append(str(error.value))
    monkeypatch.setattr(files, '_LOCK_REPORTED', 0.01)
    monkeypatch.setattr(files, '_LOCK_TIMEOUT', 0.0)
    path = tmp_path / 'clip.lock'
    with FileLock(path), pytest.raises(InputError) as error:
        files.wait_for_lock(path, tmp_path / 'clip')
    messages.append(str(error.value))
    assert len(patterns) == len(messages)
    for message in messages:
        assert [pattern for pattern in patterns if re.search(pattern, message)], message


@pytest.mark.parametrize(
    'target, expected',
    [
        ('b.md', None),
        ('b.md#two-words', None),
        ('b.md#two-words-1', None),
        ('b.md#code-x_y', None),
        ('#here', None),
        ('https://example.org/x', None),
        ('c.md', 'does not exist'),
        ('b.md#three', 'has no such heading'),
        ('#there', 'has no such heading'),
        ('../../x.md', 'leads out of the repository'),
        ('http://example.org', 'is not an https address'),
        ('https://example', 'is not an https address'),
    ],
)
def test_the_check_itself(tmp_path, monkeypatch, target, expected):
    monkeypatch.setitem(globals(), 'ROOT', tmp_path)
    (tmp_path / 'a.md').write_text('# Here\n')
    (tmp_path / 'b.md').write_text(
        '# Two *words*\n\n```\n# three\n```\n\n## Two words\n\n# Code: `x_y`!\n'
    )
    assert problem(tmp_path / 'a.md', target) == expected
