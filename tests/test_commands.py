"""Commands in the docs are parsed by their programs; those on the first pages are run."""

import argparse
import re
import runpy
import shlex
import shutil
import signal
import sys

import pytest
from helpers import ROOT, call_tool
from markdown_it import MarkdownIt
from PIL import Image

from sclip_mmseg import cli
from sclip_mmseg.export import onnx_file

PAGES = ('README.md', *(str(p.relative_to(ROOT)) for p in sorted((ROOT / 'docs').rglob('*.md'))))
#: Pages whose commands that segment images are all run.
FIRST = (
    *('README.md', 'docs/quick_start.md', 'docs/own_classes.md', 'docs/label_tools.md'),
    'docs/troubleshooting.md',
)
TOY = 'data/toy/toy_clip.safetensors'
#: How commands begin whose words are not a program's of this package, and what runs them, or why
#: nothing does. Of all others that are not run here, the words are parsed.
ELSEWHERE = {
    'make ': 'tests/test_toy.py',
    'source ': 'an environment of its own',
    'pip ': 'installs',
    'nox ': 'environments of their own',
    'jupyter notebook demo/inference_demo.ipynb': 'tests/test_notebook.py',
    '.venv/bin/pytest -m public': 'what this is',
    'tools/dist_test.sh': 'tests/tools/test_launchers.py',
    'GPUS=': 'tests/tools/test_launchers.py',
    'NNODES=': 'tests/tools/test_launchers.py',
    'export ': 'tests/tools/test_launchers.py',
    'python -m sclip_mmseg.run mmsegmentation/': 'tests/openmmlab',
    'python demo/onnx_segment.py': 'tests/test_export.py',
    'python SITE-PACKAGES/mmseg': 'tests/tools/test_mmseg_test.py',
    'mim test': 'needs MIM and the benchmarks',
    'clip_alone=': 'a list of methods',
    'page=': 'tests/web/test_api.py',
    'file=': 'tests/web/test_api.py',
    'ask=': 'tests/web/test_api.py',
    'event=': 'tests/web/test_api.py',
    'curl ': 'tests/web/test_api.py',
}


def commands(page):
    """The commands of a page, without comments."""
    for token in MarkdownIt('commonmark').parse((ROOT / page).read_text(encoding='utf-8')):
        if token.type == 'fence' and token.info == 'bash':
            text = re.sub(r'\s+#.*', '', token.content.replace('\\\n', ' '))
            for line in text.splitlines():
                yield from filter(None, re.split(r'\s*&&\s*', line.strip()))


def unique(pages):
    return list(dict.fromkeys(command for page in pages for command in commands(page)))


def program(command):
    """The file and the arguments of a command of this package."""
    command = re.sub(r'"\$\(.*\)"', '[0,1]', command)  # what a shell would compute
    words = shlex.split(command.partition(' > ')[0])
    if words[0] == 'sclip':
        return ROOT / 'sclip_mmseg/cli/__main__.py', words[1:]
    assert words[0] == 'python', command
    return ROOT / words[1], words[2:]


SHOWN = unique(PAGES)
SEGMENT = {
    command: shlex.split(command)[2:]
    for command in unique(FIRST)
    if command.startswith(('python tools/demo.py ', 'sclip segment '))
    and '--processes' not in command  # tests/apis/test_resumed_folders.py
}
PARSED = [command for command in SHOWN if not command.startswith(tuple(ELSEWHERE))]


@pytest.fixture
def clone(tmp_path):
    """A folder in which the commands are typed."""
    (tmp_path / 'data').symlink_to(ROOT / 'data')
    for name in ('photo.jpg', 'picture.jpg'):
        (tmp_path / name).symlink_to(ROOT / 'demo/coffee.jpg')
    return tmp_path


def areas(output):
    """The classes that were found, from the line with their shares."""
    [line] = [line for line in output.splitlines() if re.match(r'\S+\.jpg: .*%', line)]
    return dict(re.findall(r'(\w+) ([\d.]+)%', line.partition(': ')[2]))


def segment(command, cwd, *more):
    return call_tool(
        ROOT / 'tools/demo.py', *SEGMENT[command], *more, '--device', 'cpu', cwd=cwd
    ).stdout


def test_the_tests_of_other_commands_exist():
    assert len(SEGMENT) >= 5
    for start, where in ELSEWHERE.items():
        assert any(command.startswith(start) for command in SHOWN), start
        assert not where.startswith('tests/') or (ROOT / where).exists()


class Parsed(Exception):
    """The words of a command are known to its program."""


@pytest.mark.parametrize('command', PARSED)
def test_programs_know_the_words_of_their_commands(monkeypatch, command):
    def stopping(parse):
        def stop(parser, args=None, namespace=None):
            parse(parser, args, namespace)
            raise Parsed

        return stop

    path, arguments = program(command)
    for name in ('parse_args', 'parse_intermixed_args'):
        parse = stopping(getattr(argparse.ArgumentParser, name))
        monkeypatch.setattr(argparse.ArgumentParser, name, parse)
    monkeypatch.setattr(sys, 'argv', [str(path), *arguments])
    monkeypatch.setattr(signal, 'signal', lambda *_: None)  # for the program, not for the tests
    monkeypatch.syspath_prepend(str(path.parent))
    names = runpy.run_path(str(path))
    with pytest.raises(Parsed):
        names['main']()


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
    """The command runs with the toy CLIP, because ViT-B/16 is not available."""
    output = segment(command, clone, '--clip', TOY)
    assert len(areas(output)) > 1
    assert output.count('toy CLIP. It only knows drawings') == 1
    assert 'these are not the drawings that the toy CLIP knows: leave --clip (clip) out' in output


def test_the_methods_are_listed(capsys):
    assert 'sclip methods' in SHOWN
    cli.main(['methods'])
    assert 'sclip ' in capsys.readouterr().out


def run(command, cwd, *more):
    path, arguments = program(command)
    assert command in SHOWN
    return call_tool(path, *arguments, *more, cwd=cwd).stdout


def test_region_maps_are_made(clone):
    (clone / 'my/images').mkdir(parents=True)
    shutil.copy(ROOT / 'demo/coffee.jpg', clone / 'my/images/photo.jpg')
    run('python tools/make_region_masks.py my/images --out my/maps --options scale=200', clone)
    assert (clone / 'my/maps/photo.npz').is_file()


@pytest.mark.slow
def test_a_bank_is_built_and_used(clone):
    (clone / 'images').mkdir()
    shutil.copy(ROOT / 'demo/coffee.jpg', clone / 'images')
    run('sclip bank build images/ --out bank', clone, '--clip', TOY)
    assert (clone / 'bank/bank.json').is_file()
    shown = 'sclip segment photo.jpg --classes "road; car; tree" --bank bank'
    assert areas(run(shown, clone, '--clip', TOY)).keys() <= {'road', 'car', 'tree'}
    assert (clone / 'segmented/photo_overlay.jpg').is_file()


@pytest.mark.slow
def test_a_method_is_exported(clone, monkeypatch):
    """The conversion is replaced; tests/test_export.py covers it."""
    monkeypatch.setattr(onnx_file, '_convert', lambda *args: b'x')
    monkeypatch.setattr(onnx_file, '_compare', lambda *args: None)
    shown = 'sclip export --classes "cat, kitten; sofa; wall; window" --out model.onnx'
    run(shown, clone, '--clip', TOY)
    assert (clone / 'model.onnx').is_file()


def test_families_of_methods_are_compared(capsys):
    assert 'sclip methods --compare' in (ROOT / 'docs/which_method.md').read_text(encoding='utf-8')
    cli.main(['methods', '--compare'])
    assert '| SAM 3' in capsys.readouterr().out
