"""The commands that the first pages show do what the pages say."""

import re
import shlex

import pytest
from helpers import ROOT, call_tool
from markdown_it import MarkdownIt
from PIL import Image

from sclip_mmseg import cli

PAGES = ('README.md', 'docs/quick_start.md', 'docs/own_classes.md', 'docs/label_tools.md')
TOY = 'data/toy/toy_clip.safetensors'
#: What is run elsewhere, or needs what is not here.
ELSEWHERE = (
    'make ',  # tests/test_toy.py
    'source ',
    'pip install',
    'jupyter notebook demo/inference_demo.ipynb',  # tests/test_notebook.py
    'python tools/web_demo.py',  # tests/tools/test_web_demo.py
    'sclip web',
    'python tools/test.py configs/toy/sclip_toy_voc20.py',  # tests/test_toy.py
    # The benchmarks.
    'python tools/check_data.py',
    'python tools/test.py configs/sclip',
    'sclip data prepare',
    'sclip test configs/sclip',
    'sclip test configs/scclip',
    'tools/dist_test.sh',
    'sclip benchmark',
)


def commands(page):
    """The commands of a page, without comments."""
    for token in MarkdownIt('commonmark').parse((ROOT / page).read_text(encoding='utf-8')):
        if token.type == 'fence' and token.info == 'bash':
            text = re.sub(r'\s+#.*', '', token.content.replace('\\\n', ' '))
            for line in text.splitlines():
                yield from filter(None, re.split(r'\s*&&\s*', line.strip()))


SHOWN = list(dict.fromkeys(command for page in PAGES for command in commands(page)))


SEGMENT = {
    command: shlex.split(command)[2:]
    for command in SHOWN
    if command.startswith(('python tools/demo.py ', 'sclip segment '))
}


@pytest.fixture
def clone(tmp_path):
    """A folder in which the commands are typed."""
    (tmp_path / 'data').symlink_to(ROOT / 'data')
    (tmp_path / 'photo.jpg').symlink_to(ROOT / 'demo/coffee.jpg')
    return tmp_path


def areas(output):
    """The classes that were found, from the line with their shares."""
    [line] = [line for line in output.splitlines() if re.match(r'\S+\.jpg: .*%', line)]
    return dict(re.findall(r'(\w+) ([\d.]+)%', line.partition(': ')[2]))


def segment(command, cwd, *more):
    return call_tool(
        ROOT / 'tools/demo.py', *SEGMENT[command], *more, '--device', 'cpu', cwd=cwd
    ).stdout


def test_all_commands_are_known():
    assert len(SEGMENT) >= 5
    others = [command for command in SHOWN if command not in {*SEGMENT, 'sclip methods'}]
    assert [command for command in others if not command.startswith(ELSEWHERE)] == []


@pytest.mark.parametrize('command', [command for command in SEGMENT if TOY in command])
def test_drawings_are_segmented(clone, command):
    output = segment(command, clone)
    found = areas(output)
    assert set(found) == {'sheep', 'bottle', 'cow', 'television', 'sea'}
    assert all(float(share) >= 0.5 for share in found.values())
    assert 'Warning' not in output
    overlay = Image.open(clone / 'segmented/toy_000003_overlay.jpg')
    colors = overlay.convert('RGB').getcolors(overlay.width * overlay.height)
    assert len(colors) > 5
    assert (clone / 'segmented/toy_000003_labels.png').is_file()
    assert (clone / 'segmented/areas.csv').is_file()


@pytest.mark.parametrize('command', [command for command in SEGMENT if TOY not in command])
def test_photographs_are_segmented(clone, command):
    """By the toy CLIP, as the right one is not here; it is what the command says of it."""
    output = segment(command, clone, '--clip', TOY)
    assert len(areas(output)) > 1
    assert 'This is the toy CLIP. It only knows drawings' in output


def test_the_methods_are_listed(capsys):
    assert 'sclip methods' in SHOWN
    cli.main(['methods'])
    assert 'sclip ' in capsys.readouterr().out
