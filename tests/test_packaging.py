"""Shipped configs are found in a clone, in a wheel, and in a checkout without symbolic links."""

import ast
import contextlib
import importlib.metadata
import os
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import pytest
from helpers import ROOT, require
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from sclip_mmseg import InputError
from sclip_mmseg.config import find_config

NAME = 'sclip_mmseg::sclip/sclip_vit-b16_voc20.py'
FILES = ('setup.py pyproject.toml MANIFEST.in README.md LICENSE NOTICE model-index.yml').split()
FOLDERS = 'sclip_mmseg configs tools'.split()
_OPENCV = {'opencv-python', 'opencv-python-headless'}  # of which `make` puts one for the other


@pytest.fixture(scope='module')
def clone(tmp_path_factory):
    """A copy of what is packaged, as a checkout without symbolic links would be."""
    folder = tmp_path_factory.mktemp('clone')
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    for name in FOLDERS:
        ignored = shutil.ignore_patterns('__pycache__', '.mim')
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    return folder


@pytest.fixture(scope='module')
def installed(clone, tmp_path_factory):
    """The content of the wheel that is built from the clone's source distribution."""
    require(_find('setuptools'), 'setuptools')
    folder = tmp_path_factory.mktemp('wheel')
    _call(clone, 'setup.py', '-q', 'sdist', '-d', folder)
    [source] = folder.glob('*.tar.gz')
    pip = ('-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '--no-index')
    _call(folder, *pip, '-w', folder, source)
    [wheel] = folder.glob('*.whl')
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / 'site')
    return folder / 'site'


def _find(module):
    from importlib.util import find_spec

    return find_spec(module)


def _call(cwd, *command, path=None):
    result = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': str(path or '')},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def _files(folder):
    paths = (p.relative_to(folder) for p in folder.rglob('*') if p.is_file())
    return {p for p in paths if '__pycache__' not in p.parts}


def test_no_link_is_in_git():
    if not (ROOT / '.git').exists() or not shutil.which('git'):
        pytest.skip('this is not a git checkout')
    staged = subprocess.run(
        ['git', 'ls-files', '--stage'], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    assert [line for line in staged.stdout.splitlines() if line.startswith('120000')] == []


def test_the_wheel_has_the_files_where_openmmlab_looks_for_them(clone, installed):
    mim = installed / 'sclip_mmseg/.mim'
    for name in ('configs', 'tools'):
        assert _files(mim / name) == _files(clone / name) != set()
    assert (mim / 'model-index.yml').read_text() == (ROOT / 'model-index.yml').read_text()
    assert (installed / 'sclip_mmseg/py.typed').is_file()


READ_NAMES = f"""
import gc
import sclip_mmseg
from mmengine.config import Config
from mmengine.hub import get_config
from sclip_mmseg.apis import list_methods
from sclip_mmseg.config import read_config
print(sclip_mmseg.__file__)
print(read_config('{NAME}').filename)
print(get_config('{NAME}').filename)
open('mine.py', 'w').write("_base_ = '{NAME}'")
assert Config.fromfile('mine.py').model.text_head.queries == 'voc20'
assert 'sclip' in list_methods()
gc.freeze()  # a second less at the end
"""


def _check_names(output, package, configs):
    """Look at what READ_NAMES has printed last."""
    expected = str(configs / 'sclip/sclip_vit-b16_voc20.py')
    assert output.splitlines()[-3:] == [str(package / '__init__.py'), expected, expected]


def test_names_lead_to_the_configs_beside_the_package(clone, tmp_path):
    output = _call(tmp_path, '-c', READ_NAMES, path=clone)
    _check_names(output, clone / 'sclip_mmseg', clone / 'configs')


def test_tools_run_from_the_wheel(installed, tmp_path):
    tool = installed / 'sclip_mmseg/.mim/tools/test.py'
    assert 'sclip_mmseg::' in _call(tmp_path, tool, '--help', path=installed)


RUN_COMMAND = """
from sclip_mmseg import cli
print(cli.__file__)
cli.main(['methods', 'naclip'])
try:
    cli.main(['data', 'check', 'voc20'])
except SystemExit as stop:
    from sclip_mmseg.utils.shipped import data_dir
    print(stop.code, data_dir())
"""


def test_command_and_names_of_the_wheel(installed, tmp_path, monkeypatch):
    [entry] = installed.glob('*.dist-info/entry_points.txt')
    assert 'sclip = sclip_mmseg.cli:main' in entry.read_text()
    monkeypatch.delenv('SCLIP_DATA_ROOT', raising=False)
    output = _call(tmp_path, '-c', RUN_COMMAND + READ_NAMES, path=installed)
    assert output.startswith(f'{installed / "sclip_mmseg/cli/__init__.py"}\n')
    assert '  sclip_mmseg::naclip/naclip_vit-b16_voc20.py\n' in output
    assert f'folder {tmp_path / "data/VOCdevkit/VOC2012"} does not exist' in output
    assert '\nTrue data\n' in output
    _check_names(output, installed / 'sclip_mmseg', installed / 'sclip_mmseg/.mim/configs')


def test_unknown_configs_are_refused(tmp_path):
    with pytest.raises(InputError, match='config sclip_mmseg::sclip/x.py does not exist in .*conf'):
        find_config('sclip_mmseg::sclip/x.py')
    with pytest.raises(InputError, match=r'config x_vit-l14_voc20.py does not exist$'):
        find_config('x_vit-l14_voc20.py')
    own = tmp_path / 'own_vit-l14_voc20.py'
    own.touch()
    assert find_config(str(own)) == str(own)


@pytest.fixture(scope='module')
def declared():
    """Arguments of setup.py's `setup` that are literals."""
    [call] = (
        node
        for node in ast.walk(ast.parse((ROOT / 'setup.py').read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'setup'
    )
    names = 'python_requires', 'install_requires', 'extras_require'
    return {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg in names}


def _read(name):
    return (ROOT / name).read_text()


def _floor(requirement):
    [floor] = [each.version for each in requirement.specifier if each.operator == '>=']
    return floor


def test_the_oldest_python_is_the_same_everywhere(declared):
    oldest = declared['python_requires'].removeprefix('>=')
    major, minor = oldest.split('.')
    assert f'target-version = "py{major}{minor}"' in _read('pyproject.toml')
    assert f'sys.version_info < ({major}, {minor}))' in _read('Makefile')
    assert f'is not Python {oldest} or newer' in _read('Makefile')
    assert f"PYTHONS = ['{oldest}', " in _read('tools/misc/noxfile.py')
    assert f'Python ≥ {oldest}' in _read('docs/compatibility.md')


def test_the_page_names_each_extra(declared):
    named = re.findall(r'^\| `(\w+)` \|', _read('docs/installation.md'), re.M)
    assert sorted(named) == sorted(declared['extras_require'])


def _pins(python):
    """The pins of requirements.txt for a Python."""
    lines = _read('requirements.txt').splitlines()
    pins = [Requirement(re.sub(' *#.*', '', line)) for line in lines if line[0] not in '#-']
    return [
        pin for pin in pins if not pin.marker or pin.marker.evaluate({'python_version': python})
    ]


def test_the_oldest_python_has_the_tested_versions(declared):
    """Only installed packages are compared."""
    oldest = declared['python_requires'].removeprefix('>=')
    newer = []
    for pin in _pins(oldest):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found = importlib.metadata.metadata(pin.name)
            if found['Version'] in pin.specifier and found['Requires-Python']:
                if oldest not in SpecifierSet(found['Requires-Python']):
                    newer.append(str(pin))
    assert newer == []


def test_optional_dependencies_of_tests_are_installed():
    """Otherwise `make test` and CI would always skip these tests."""
    pinned = {canonicalize_name(pin.name) for pin in _pins('3.11')}
    found = importlib.metadata.packages_distributions()
    names = {
        name
        for path in (ROOT / 'tests').rglob('*.py')
        for name in re.findall(r"importorskip\('(\w+)", path.read_text(encoding='utf-8'))
    }
    installed = {canonicalize_name(each) for name in names for each in found.get(name, ())}
    assert installed - pinned - {'fsspec'} - _OPENCV == set()  # fsspec comes with the Hub's client


def test_the_tested_versions_are_in_the_ranges_on_every_python(declared):
    required = [*declared['install_requires'], *declared['extras_require']['lite']]
    oldest = declared['python_requires'].removeprefix('>=')
    for python in (oldest, '3.11', '3.14'):
        chosen = _pins(python)
        versions = {pin.name: str(pin.specifier).removeprefix('==') for pin in chosen}
        assert len(versions) == len(chosen)
        for requirement in map(Requirement, required):
            assert versions[requirement.name] in requirement.specifier


def test_the_lower_bounds_are_those_of_the_table(declared):
    docs = _read('docs/compatibility.md')
    [row] = [line for line in docs.splitlines() if line.startswith('| `lowest-')]
    _, _, python, torch, _, mmcv, mmengine, mmseg, *_ = (cell.strip() for cell in row.split('|'))
    assert python.startswith(declared['python_requires'].removeprefix('>='))
    required = map(Requirement, declared['install_requires'] + declared['extras_require']['lite'])
    floors = {
        requirement.name: _floor(requirement)
        for requirement in required
        if '>=' in str(requirement.specifier)
    }
    assert set(floors) >= {'torch', 'mmcv-lite', 'mmengine', 'mmsegmentation', 'numpy'}
    for cell in (torch, mmcv, mmengine, mmseg):
        name, version = cell.split()
        assert Version(version.split('+')[0]) == Version(floors[name])
    for name, text in (('torch', 'torch'), ('mmsegmentation', 'MMSegmentation')):
        assert f'{text} ≥ {floors[name]}' in docs


@pytest.mark.parametrize('broken', ['exit 1', 'echo "No module named ensurepip" >&2; exit 1'])
def test_make_says_which_python_it_needs(tmp_path, broken):
    require(shutil.which('make'), 'make')
    python = tmp_path / 'python'
    python.write_text(f'#!/bin/sh\n{broken}\n')
    python.chmod(0o755)
    result = subprocess.run(
        ['make', '-s', 'install', f'PYTHON={python}', f'VENV={tmp_path}/venv'],
        cwd=ROOT,
        env=os.environ | {'MAKEFLAGS': ''},  # of a make that runs the tests
        capture_output=True,
        text=True,
    )
    first, *rest = result.stderr.splitlines()
    assert first.startswith(f'error: {python} is not Python 3.10 or newer with venv: apt install')
    assert len(rest) == 1 and result.returncode  # make's own
    assert not (tmp_path / 'venv').exists()


def test_make_takes_the_pinned_opencv_without_windows():
    assert re.search(r'^opencv-python==[\d.]+$', _read('requirements.txt'), re.M)
    assert "'s/^opencv-python==/opencv-python-headless==/p' requirements.txt" in _read('Makefile')


@pytest.fixture
def noxfile(monkeypatch):
    """The noxfile's functions, without nox."""
    nox = SimpleNamespace(options=SimpleNamespace(), session=lambda **options: lambda run: run)
    monkeypatch.setitem(sys.modules, 'nox', nox)
    return SimpleNamespace(**runpy.run_path(str(ROOT / 'tools/misc/noxfile.py')))


def test_the_noxfile_evaluates_what_the_toy_test_does(noxfile):
    from test_toy import EXPECTED

    assert noxfile.MIOU == EXPECTED['sclip', 'voc20']
    assert all((ROOT / f'tests/{name}.py').is_file() for name in noxfile.TESTS)
    assert (ROOT / noxfile.CONFIG).is_file()


def test_the_noxfile_replaces_a_sessions_line(noxfile, tmp_path):
    table = tmp_path / 'compatibility.md'
    table.write_text('# Title\n\n| session | mIoU |\n|---|---|\n\nEnd.\n')
    noxfile.record.__globals__['TABLE'] = table
    for name, cells in (('a-3.1', '1'), ('a-3.10', '2'), ('a-3.1', '3')):
        noxfile.record(name, cells)
    rows = '| `a-3.1` | 3 |\n| `a-3.10` | 2 |\n'
    assert table.read_text() == f'# Title\n\n| session | mIoU |\n|---|---|\n{rows}\nEnd.\n'
