"""Shipped configs are found in a clone, in a wheel, and in a checkout without symbolic links."""

import os
import shutil
import subprocess
import sys
import textwrap
import zipfile

import pytest
from helpers import ROOT, require

from sclip_mmseg import InputError
from sclip_mmseg.config import find_config

NAME = 'sclip_mmseg::sclip/sclip_vit-b16_voc20.py'
FILES = (
    'setup.py sclip_cli.py pyproject.toml MANIFEST.in README.md LICENSE NOTICE model-index.yml'
).split()
FOLDERS = 'sclip_mmseg configs tools'.split()


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
        pytest.skip('this is no git checkout')
    staged = subprocess.run(
        ['git', 'ls-files', '--stage'], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    assert [line for line in staged.stdout.splitlines() if line.startswith('120000')] == []


def test_the_wheel_has_the_files_where_openmmlab_looks_for_them(clone, installed):
    mim = installed / 'sclip_mmseg/.mim'
    for name in ('configs', 'tools'):
        assert _files(mim / name) == _files(clone / name) != set()
    assert (mim / 'model-index.yml').read_text() == (ROOT / 'model-index.yml').read_text()


@pytest.mark.parametrize('where', ['clone', 'installed'])
def test_names_lead_to_the_configs_beside_the_package(where, request, tmp_path):
    root = request.getfixturevalue(where)
    configs = root / ('configs' if where == 'clone' else 'sclip_mmseg/.mim/configs')
    (tmp_path / 'mine.py').write_text(f"_base_ = '{NAME}'\n")
    code = f"""
        import sclip_mmseg
        from mmengine.config import Config
        from mmengine.hub import get_config
        from sclip_mmseg.apis import list_methods
        from sclip_mmseg.config import read_config
        print(sclip_mmseg.__file__)
        print(read_config('{NAME}').filename)
        print(get_config('{NAME}').filename)
        assert Config.fromfile('mine.py').model.text_head.queries == 'voc20'
        assert 'sclip' in list_methods()
    """
    lines = _call(tmp_path, '-c', textwrap.dedent(code), path=root).splitlines()[-3:]
    expected = str(configs / 'sclip/sclip_vit-b16_voc20.py')
    assert lines == [str(root / 'sclip_mmseg/__init__.py'), expected, expected]


def test_tools_run_from_the_wheel(installed, tmp_path):
    tool = installed / 'sclip_mmseg/.mim/tools/test.py'
    assert 'sclip_mmseg::' in _call(tmp_path, tool, '--help', path=installed)


def test_the_command_runs_from_the_wheel(installed, tmp_path, monkeypatch):
    [entry] = installed.glob('*.dist-info/entry_points.txt')
    assert 'sclip = sclip_cli:main' in entry.read_text()
    monkeypatch.delenv('SCLIP_DATA_ROOT', raising=False)
    code = """
        import sclip_cli
        print(sclip_cli.__file__)
        sclip_cli.main(['methods', 'naclip'])
        try:
            sclip_cli.main(['data', 'check', 'voc20'])
        except SystemExit as stop:
            from sclip_mmseg.utils.shipped import data_dir
            print(stop.code, data_dir())
    """
    output = _call(tmp_path, '-c', textwrap.dedent(code), path=installed)
    assert output.startswith(f'{installed / "sclip_cli.py"}\n')
    assert '  sclip_mmseg::naclip/naclip_vit-b16_voc20.py\n' in output
    assert f'folder {tmp_path / "data/VOCdevkit/VOC2012"} does not exist' in output
    assert output.endswith('\nTrue data\n')


@pytest.mark.parametrize('prefix', ['sclip_mmseg::', f'{ROOT}/configs/'])
def test_a_config_of_version_0_1_for_another_backbone_names_its_successor(prefix):
    new = f'{prefix}resclip/resclip-naclip_vit-b16_coco_stuff164k.py'
    assert find_config(new)
    with pytest.raises(InputError, match=f'does not exist: use {new} ViT-L/14$'):
        find_config(new.replace('b16', 'l14'))


def test_unknown_configs_are_refused(tmp_path):
    with pytest.raises(InputError, match='config sclip_mmseg::sclip/x.py does not exist in .*conf'):
        find_config('sclip_mmseg::sclip/x.py')
    with pytest.raises(InputError, match=r'config x_vit-l14_voc20.py does not exist$'):
        find_config('x_vit-l14_voc20.py')
    own = tmp_path / 'own_vit-l14_voc20.py'
    own.touch()
    assert find_config(str(own)) == str(own)
