"""Waiting for a file of another process is reported, and ends."""

import time

import pytest
from filelock import FileLock

from sclip_mmseg import InputError
from sclip_mmseg.utils import files


@pytest.fixture
def waits(monkeypatch):
    monkeypatch.setattr(files, '_LOCK_REPORTED', 0.02)
    monkeypatch.setattr(files, '_LOCK_TIMEOUT', 0.1)


@pytest.fixture
def told(monkeypatch):
    lines = []
    monkeypatch.setattr(files, 'print_log', lambda text, logger: lines.append(text))
    return lines


def test_a_lock_that_stays_taken(tmp_path, waits, told):
    with FileLock(tmp_path / 'x.lock', is_singleton=False):
        with pytest.raises(InputError, match=r'x.lock has been held by another process for 0 sec'):
            files.lock_file(tmp_path / 'x', 'remedy')
    assert told == [f'Waiting for another process that holds {tmp_path / "x.lock"}']
    with files.lock_file(tmp_path / 'x', 'remedy'):
        assert len(told) == 1


def test_a_lock_of_a_process_that_writes(tmp_path, waits, told, monkeypatch):
    measure, part = files._written, tmp_path / 'x.part'

    def write_and_measure(target):
        if time.monotonic() - start < 0.4:
            with part.open('a') as file:
                file.write('more')
        return measure(target)

    with FileLock(tmp_path / 'x.lock', is_singleton=False):
        start = time.monotonic()
        monkeypatch.setattr(files, '_written', write_and_measure)
        with pytest.raises(InputError):
            files.lock_file(tmp_path / 'x', 'remedy')
    assert 0.4 < time.monotonic() - start < 5


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match=r'cannot write to .*file/x \(.*\): remedy'):
        files.lock_file(tmp_path / 'file/x/y', 'remedy')
