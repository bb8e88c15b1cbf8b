"""Python code in the docs runs: here, or in the tests listed here."""

import ast
import functools
import shutil
from types import SimpleNamespace

import pytest
import torch
from helpers import ROOT, seeded_clip
from markdown_it import MarkdownIt

from sclip_mmseg import apis
from sclip_mmseg.evaluation import Result
from sclip_mmseg.registry import METHODS
from sclip_mmseg.towers import load_image_tower

PAGES = ('README.md', *(str(p.relative_to(ROOT)) for p in sorted((ROOT / 'docs').rglob('*.md'))))
TOY = str(ROOT / 'data/toy/toy_clip.safetensors')
#: Page and heading of blocks → the test that runs them.
ELSEWHERE = {
    ('README.md', 'Add your own method'): 'tests/test_extension.py',
    ('docs/differences.md', 'The report'): 'tests/test_toy.py',
    ('docs/export.md', 'What is in the file'): 'tests/test_export.py',
    ('docs/label_tools.md', 'Python'): 'tests/test_docs.py',
    ('docs/add_a_method.md', 'Add a method'): 'tests/test_extension.py',
    ('docs/own_classes.md', 'Python'): 'tests/test_docs.py',
    ('docs/own_classes.md', 'Thousands of images'): 'tests/apis/test_resumed_folders.py',
    ('docs/own_dataset.md', 'Python'): 'tests/test_own_dataset_page.py',
    ('docs/serving.md', 'From programs'): 'tests/web/test_api.py',
    (
        'docs/troubleshooting.md',
        'How do I use it inside another model, or fine-tune it?',
    ): 'tests/test_docs.py',
}


def blocks(page):
    """Headings and Python of a page."""
    heading, tokens = '', MarkdownIt('commonmark').parse((ROOT / page).read_text(encoding='utf-8'))
    for token, after in zip(tokens, [*tokens[1:], None]):
        if token.type == 'heading_open':
            heading = after.content
        elif token.type == 'fence' and token.info in ('python', 'py'):
            yield heading, token.content


ALL = [(page, heading, text) for page in PAGES for heading, text in blocks(page)]


def is_config(text):
    """Whether there are only values in it."""
    return all(isinstance(node, ast.Assign) for node in ast.parse(text).body)


def get(page, start):
    """The one block of a page that begins so."""
    [text] = [text for where, _, text in ALL if where == page and text.startswith(start)]
    return text


CONFIGS = [
    (page, text)
    for page, heading, text in ALL
    if (page, heading) not in ELSEWHERE and is_config(text)
]
#: Beginnings of the blocks that tests of this file run.
HERE = {
    'README.md': ['from sclip_mmseg import apis'],
    'docs/evaluation.md': ['from sclip_mmseg.evaluation import Result, evaluate'],
    'docs/add_a_method.md': ['last = len(tower.blocks)'],
    'docs/troubleshooting.md': ['import sclip_mmseg', 'torch.save('],
}


def test_every_block_runs_somewhere():
    for where in ELSEWHERE.values():
        assert (ROOT / where).is_file()
    for page, start in [(page, start) for page, starts in HERE.items() for start in starts]:
        assert get(page, start)
    left = [
        (page, heading, text)
        for page, heading, text in ALL
        if (page, heading) not in ELSEWHERE
        and (page, text) not in CONFIGS
        and not text.startswith(tuple(HERE.get(page, ['nothing'])))
    ]
    assert left == []


@pytest.mark.parametrize('page, text', CONFIGS)
def test_configs(page, text):
    """They are valid Python, and their methods can be built."""
    names = {}
    exec(text, names)
    encoder = names.get('image_encoder') or names.get('model', {}).get('image_encoder', {})
    method = names.get('method') or encoder.get('method')
    if method and method['type'] != 'ValueCSA':
        assert METHODS.build(method)


def test_readme(tmp_path, monkeypatch):
    """The code runs with the toy CLIP, because ViT-B/16 is not available."""
    shutil.copy(ROOT / 'demo/coffee.jpg', tmp_path / 'photo.jpg')
    monkeypatch.chdir(tmp_path)
    build = functools.partial(apis.build_segmentor, clip=TOY, device='cpu')
    monkeypatch.setattr(apis, 'build_segmentor', build)
    names = {}
    with pytest.warns(UserWarning, match='This is the toy CLIP. It only knows drawings'):
        exec(get('README.md', 'from sclip_mmseg import apis'), names)
    assert list(names['result'].areas) == ['cat', 'sofa', 'wall', 'window']


def test_tower(tmp_path):
    path = tmp_path / 'clip.pt'
    torch.save(seeded_clip(layers=12), path)
    tower, view = load_image_tower(str(path)), SimpleNamespace(images=torch.randn(1, 3, 64, 80))
    names = dict(tower=tower, view=view)
    exec(get('docs/add_a_method.md', 'last = len(tower.blocks)'), names)
    assert names['rows'] * names['columns'] == 20


def test_troubleshooting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(get('docs/troubleshooting.md', 'import sclip_mmseg'), {})
    torch.save(torch.nn.Linear(2, 3), 'theirs.pt')
    exec(get('docs/troubleshooting.md', 'torch.save('), dict(torch=torch))
    assert set(torch.load('mine.pt')) == {'weight', 'bias'}


@pytest.mark.slow
def test_evaluation(tmp_path, monkeypatch):
    """The code runs on toy images, because the benchmark is not available."""
    monkeypatch.chdir(tmp_path)
    text = get('docs/evaluation.md', 'from sclip_mmseg.evaluation import Result, evaluate')
    config = str(ROOT / 'configs/toy/sclip_toy_voc20.py')
    names = {}
    exec(text.replace('sclip_mmseg::sclip/sclip_vit-b16_voc20.py', config), names)
    assert isinstance(names['result'], Result) and names['result'].mIoU > 40
