"""Rendezvous of the processes that share an evaluation, and whether they were restarted.

mmengine's own initialization selects a CUDA device even where there is none, and has one timeout
both for processes that never start and for those that still evaluate.
"""

import atexit
import os
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, is_distributed
from torch import distributed
from torch.distributed.rendezvous import rendezvous

from ..utils.errors import InputError

#: How long a process waits for the others to be started.
JOIN_TIME = timedelta(minutes=30)
#: Launcher → the command that starts its processes, and their environment variables: rank, number
#: of processes, local rank.
_LAUNCHERS = {
    'pytorch': ('torchrun or tools/dist_test.sh', 'RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('srun or tools/slurm_test.sh', 'SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': (
        "Open MPI's mpirun",
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_SIZE',
        'OMPI_COMM_WORLD_LOCAL_RANK',
    ),
}
#: Environment variables in which torchrun and Slurm count restarts.
_RESTARTS = 'TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT'


def join_processes(launcher: str, dist_cfg: Mapping[str, Any]) -> None:
    """Initialize the process group of an evaluation, with gloo if there is no GPU.

    Does nothing if there is a process group already, or a single process. Other accelerators and
    other options than these two are left to mmengine.

    Args:
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        dist_cfg: The config's ``env_cfg.dist_cfg``: ``backend`` for GPUs, and ``timeout``, the
            seconds that a finished process waits for the others.

    Raises:
        InputError: If the launcher did not start this process, or if a process does not start
            within 30 minutes.
    """
    if launcher == 'none' or is_distributed() or not {*dist_cfg} <= {'backend', 'timeout'}:
        return
    if get_device() not in ('cpu', 'cuda', 'mps'):
        return
    rank, world, local_rank = _read_environment(launcher)
    backend = 'gloo'
    if torch.cuda.is_available():
        backend = dist_cfg.get('backend', 'nccl')
        # Slurm may show each process only its own GPU, which is then device 0.
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    where = f'{os.environ["MASTER_ADDR"]}:{os.environ["MASTER_PORT"]}'
    try:
        store, *_ = next(rendezvous('env://', rank, world, timeout=JOIN_TIME))
        name = _rendezvous(store, rank, world)
    except RuntimeError as error:  # PyTorch raises no more specific type
        raise InputError(
            f'the {world} processes did not find each other at {where} within {JOIN_TIME}, as seen '
            f'by process {rank} ({error}): see that all of them run, and that MASTER_ADDR and '
            'MASTER_PORT are the same for all and can be reached from everywhere'
        ) from error
    limit: dict[str, Any] = {}
    if dist_cfg.get('timeout') is not None:
        limit['timeout'] = timedelta(seconds=dist_cfg['timeout'])
        store.set_timeout(limit['timeout'])
    store = distributed.PrefixStore(name, store)
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world, **limit)
    if backend == 'gloo':
        # Its threads abort the process (SIGABRT) if they free a tensor while Python shuts down.
        atexit.register(_leave_processes)


def _leave_processes() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def was_restarted() -> bool:
    """Whether torchrun or Slurm restarted any of the processes; the same answer in all."""
    # An agent of torchrun that restarts because another one did does not increase its count.
    restarts = torch.tensor(max(int(os.environ.get(name) or 0) for name in _RESTARTS))
    all_reduce(restarts, 'max')
    return bool(restarts)


def _read_environment(launcher: str) -> tuple[int, int, int]:
    """Read rank, number of processes and local rank, and set the variables that PyTorch reads."""
    starter, *names = _LAUNCHERS[launcher]
    missing = [name for name in names if not os.environ.get(name)]
    if launcher != 'slurm':
        missing += [name for name in ('MASTER_ADDR',) if not os.environ.get(name)]
    if missing:
        raise InputError(
            f'--launcher {launcher} finds no {", ".join(missing)} in the environment: start the '
            f'program by {starter}, or leave out --launcher'
        )
    rank, world, local_rank = (int(os.environ[name]) for name in names)
    if launcher == 'slurm':
        os.environ.setdefault('MASTER_ADDR', _first_host())
        # Two jobs on one node need different ports.
        port = 15000 + int(os.environ.get('SLURM_JOB_ID', 0)) % 10000
        os.environ.setdefault('MASTER_PORT', str(port))
    os.environ.setdefault('MASTER_PORT', '29500')
    place = dict(RANK=rank, WORLD_SIZE=world, LOCAL_RANK=local_rank)
    os.environ.update({name: str(value) for name, value in place.items()})
    return rank, world, local_rank


def _first_host() -> str:
    """The node on which Slurm runs process 0 of this step."""
    nodes = os.environ.get('SLURM_STEP_NODELIST') or os.environ.get('SLURM_NODELIST', '')
    if not any(sign in nodes for sign in ',['):
        return nodes
    command = ['scontrol', 'show', 'hostnames', nodes]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]


def _rendezvous(store: distributed.Store, rank: int, world: int) -> str:
    """Wait until all processes have started.

    Entries of an earlier start are ignored: torchrun keeps the same store for all its restarts.

    Returns:
        A new prefix for the keys of these processes.

    Raises:
        RuntimeError: If a process does not start in time.
    """
    deadline = time.monotonic() + JOIN_TIME.total_seconds()
    if rank == 0:
        name = uuid.uuid4().hex
        store.set('meeting', name)
        missing: Sequence[int] = range(1, world)
        while missing := [other for other in missing if not store.check([f'{name}/{other}'])]:
            if time.monotonic() > deadline:
                raise RuntimeError(f'processes {", ".join(map(str, missing))} did not start')
            time.sleep(0.05)
        store.set('meeting', '')  # so that a name found later belongs to a later rendezvous
        store.set(f'{name}/all', '')
        return name
    name = ''
    while not (name and store.check([f'{name}/all'])):
        if time.monotonic() > deadline:
            raise RuntimeError('process 0 waits for others')
        latest = store.get('meeting').decode()
        if latest not in ('', name):
            name = latest
            store.set(f'{name}/{rank}', '')
        time.sleep(0.05)
    return name
