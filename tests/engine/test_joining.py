"""Processes find each other, or fail after a timeout."""

import atexit
import os
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import distributed

from sclip_mmseg import InputError
from sclip_mmseg.engine import joining

VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """An environment without launcher variables and GPU, which is restored at the end."""
    monkeypatch.setattr(os, 'environ', dict(os.environ))
    names = [name for names in VARIABLES.values() for name in names]
    for name in [*names, 'MASTER_ADDR', 'MASTER_PORT', *joining._RESTARTS]:
        os.environ.pop(name, None)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(sys, 'excepthook', sys.excepthook)  # PyTorch replaces it
    yield os.environ
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _launch(launcher, rank=0, world=1, local_rank=0):
    os.environ.update(zip(VARIABLES[launcher], map(str, (rank, world, local_rank))))
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT='0')  # any port


def _store():
    return distributed.TCPStore('127.0.0.1', 0, is_master=True, wait_for_workers=False)


def _timeout():
    group = distributed.group.WORLD._get_backend(torch.device('cpu'))
    return group.options._timeout


@pytest.mark.parametrize('launcher', VARIABLES)
def test_processes_without_a_gpu_wait_as_long_as_the_config_says(launcher):
    _launch(launcher)
    joining.join_processes(launcher, dict(backend='nccl', timeout=90))
    assert distributed.get_backend() == 'gloo'
    assert _timeout() == timedelta(seconds=90)
    assert os.environ['LOCAL_RANK'] == '0'
    joining.join_processes(launcher, {})  # nothing is left to do


@pytest.mark.skipif(sys.platform != 'linux', reason='looks in /proc for threads')
def test_no_thread_of_gloo_is_left_when_python_shuts_down(monkeypatch):
    """Otherwise it may abort the process."""
    registered = []
    monkeypatch.setattr(atexit, 'register', registered.append)
    _launch('pytorch')
    joining.join_processes('pytorch', {})
    distributed.barrier()
    assert _threads_of_gloo()
    [leave] = registered
    leave()
    assert not distributed.is_initialized() and not _threads_of_gloo()
    leave()  # as if the program had done so itself


def _threads_of_gloo():
    names = []
    for path in Path('/proc/self/task').glob('*/comm'):
        with suppress(OSError):  # another thread that has ended
            names.append(path.read_text())
    return [name for name in names if 'gloo' in name]


def test_one_process_alone_joins_nobody():
    joining.join_processes('none', dict(timeout=90))
    assert not distributed.is_initialized()


def test_what_mmengine_alone_knows_is_left_to_it():
    joining.join_processes('pytorch', dict(backend='nccl', init_backend='deepspeed'))
    assert not distributed.is_initialized()


@pytest.mark.parametrize('launcher', VARIABLES)
def test_a_process_not_started_by_its_launcher(launcher):
    with pytest.raises(InputError, match=f'no {VARIABLES[launcher][0]}, .* or leave out'):
        joining.join_processes(launcher, {})


def test_each_process_takes_a_gpu_of_those_it_sees(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 4)
    monkeypatch.setattr(torch.cuda, 'set_device', taken.append)
    monkeypatch.setattr(
        distributed, 'init_process_group', lambda *args, **kwargs: taken.append((args, kwargs))
    )
    _launch('slurm', local_rank=6)
    joining.join_processes('slurm', dict(backend='nccl', timeout=90))
    index, (backend, options) = taken
    assert index == 2
    assert backend == ('nccl',)
    assert options['timeout'] == timedelta(seconds=90)
    assert (options['rank'], options['world_size']) == (0, 1)


def test_slurm_says_where_the_first_process_is(monkeypatch, tmp_path):
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text(
        '#!/bin/sh\n[ "$*" = "show hostnames gpu[7-8]" ] && printf "gpu7\\ngpu8\\n"'
    )
    scontrol.chmod(0o755)
    os.environ['PATH'] = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    os.environ.update(zip(VARIABLES['slurm'], '301'))
    os.environ.update(SLURM_NODELIST='gpu[1-8]', SLURM_STEP_NODELIST='gpu[7-8]')
    os.environ['SLURM_JOB_ID'] = '120007'
    assert joining._read_environment('slurm') == (3, 0, 1)
    assert os.environ['MASTER_ADDR'] == 'gpu7'
    assert os.environ['MASTER_PORT'] == '15007'
    os.environ.update(MASTER_ADDR='host', MASTER_PORT='9', SLURM_STEP_NODELIST='gpu1')
    joining._read_environment('slurm')
    assert os.environ['MASTER_ADDR'] == 'host' and os.environ['MASTER_PORT'] == '9'
    assert joining._first_host() == 'gpu1'


@pytest.mark.parametrize('rank, agent', [(0, False), (0, True), (1, True)])
def test_a_process_that_never_comes_is_waited_for_for_a_while(monkeypatch, rank, agent):
    monkeypatch.setattr(joining, 'JOIN_TIME', timedelta(seconds=0.5))
    _launch('pytorch', rank=rank, world=2)
    if agent:  # torchrun's, which keeps the store for all
        store = _store()
        os.environ.update(TORCHELASTIC_USE_AGENT_STORE='True', MASTER_PORT=str(store.port))
    with pytest.raises(InputError, match=f'within 0:00:00.500000, as seen by process {rank}'):
        joining.join_processes('pytorch', dict(timeout=7 * 24 * 3600))
    assert not distributed.is_initialized()


def _rendezvous(port, world):
    """The name on which all processes agree, each with its own connection."""
    names = [None] * world

    def join(rank):
        store = distributed.TCPStore('127.0.0.1', port, is_master=False)
        names[rank] = joining._rendezvous(store, rank, world)

    threads = [threading.Thread(target=join, args=(rank,)) for rank in reversed(range(world))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(set(names)) == 1, names
    return names[0]


def test_what_earlier_starts_left_is_not_taken_for_the_present_one():
    store = _store()
    names = [_rendezvous(store.port, 3), _rendezvous(store.port, 3)]
    # One in which only the first process came before it was killed.
    store.set('meeting', 'broken off')
    names.append(_rendezvous(store.port, 3))
    assert len(set(names)) == 3 and names[0]


@pytest.mark.parametrize('name', ['TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT'])
def test_restarts_are_noticed(name):
    assert not joining.was_restarted()
    os.environ[name] = '0'
    assert not joining.was_restarted()
    os.environ[name] = '2'
    assert joining.was_restarted()
