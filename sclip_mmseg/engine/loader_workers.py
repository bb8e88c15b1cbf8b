"""How many processes load images beside each process that evaluates."""

import copy
import os
from typing import Mapping

from torch.utils.data import DataLoader

_MOST = 8  # each keeps two images and their labels in shared memory


def count_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_num_workers(launcher: str, cores: int, environ: Mapping[str, str]) -> int:
    """An equal share of a machine's cores, at least 1, at most 8.

    Args:
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        cores: Cores that this process may run on.
        environ: Environment variables, of which a launcher's say how many processes share them.
    """
    if launcher == 'slurm':  # which counts in cores, of which each process has 1 by default
        cores = min(cores, int(environ.get('SLURM_CPUS_PER_TASK', 1)))
    elif launcher in ('pytorch', 'mpi'):
        name = {'pytorch': 'LOCAL_WORLD_SIZE', 'mpi': 'OMPI_COMM_WORLD_LOCAL_SIZE'}[launcher]
        cores //= int(environ.get(name, 1))
    return min(max(cores, 1), _MOST)


def with_num_workers(dataloader: dict, launcher: str) -> dict:
    """A copy of a config's data loader, whose ``num_workers`` is chosen unless it is set.

    Args:
        dataloader: The config's ``test_dataloader``.
        launcher: See :func:`choose_num_workers`.
    """
    dataloader = copy.copy(dataloader)
    chosen = choose_num_workers(launcher, count_cores(), os.environ)
    if dataloader.setdefault('num_workers', chosen):  # without workers, PyTorch refuses the other
        dataloader.setdefault('persistent_workers', True)
    return dataloader


def end_workers(loader: DataLoader) -> None:
    """End the processes of a loader whose workers persist.

    Left to the garbage collector, each of them would hold it up for 5 seconds.
    """
    iterator = getattr(loader, '_iterator', None)
    if iterator is not None:
        iterator._shutdown_workers()
        loader._iterator = None
