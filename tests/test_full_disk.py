"""A full disk ends every program with one line, and leaves no partial file."""

import errno
import os

import numpy as np
import pytest
import torch
from helpers import ROOT, call_tool
from PIL import Image

from sclip_mmseg import InputError
from sclip_mmseg.apis.region_maps import make_region_maps
from sclip_mmseg.datasets import load_queries
from sclip_mmseg.models.text_embeddings import save_embeddings
from sclip_mmseg.utils.program import as_program

NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def full_disk(monkeypatch):
    def refuse(descriptor):
        raise NO_SPACE

    monkeypatch.setattr(os, 'fsync', refuse)


def regions(image):
    return np.ones(image.shape[:2], np.int32)


def test_region_maps(tmp_path, full_disk):
    path = tmp_path / 'image.png'
    Image.new('RGB', (8, 6)).save(path)
    with pytest.raises(InputError, match=r'image.npz cannot be written \(.*No space left'):
        make_region_maps([path], f'{tmp_path}/maps/{{stem}}.npz', regions)
    assert not list((tmp_path / 'maps').iterdir())


def test_embeddings(tmp_path, full_disk):
    with pytest.raises(InputError, match=r'text.npz cannot be written \(.*No space left'):
        save_embeddings(tmp_path / 'text.npz', load_queries([['cat']]), torch.ones(1, 4))
    assert not list(tmp_path.iterdir())


def test_contact_sheet(voc_root, full_disk):
    arguments = ('voc21', '--partial', '--nproc', 1, '--out', voc_root / 'sheets')
    env = {'SCLIP_DATA_ROOT': str(voc_root)}
    result = call_tool(ROOT / 'tools/check_data.py', *arguments, check=False, env=env)
    last = result.stdout.splitlines()[-1]
    assert result.returncode == 1 and last.startswith('error: ') and 'No space left' in last


@pytest.mark.parametrize('name, place', [(None, 'a disk'), ('/out/x', '/out/x')])
def test_a_programs_output(name, place):
    with pytest.raises(SystemExit) as stop, as_program():
        raise OSError(errno.ENOSPC, 'No space left on device', name)
    assert (
        stop.value.code
        == f'error: cannot write to {place} (No space left on device): free disk space there'
    )


def test_other_errors_of_files_keep_their_traceback():
    with pytest.raises(FileNotFoundError), as_program():
        open('/nowhere/at/all')
