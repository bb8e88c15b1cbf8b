"""Number of data loader workers of each evaluating process."""

import copy
import logging
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from PIL import Image
from torch.utils.data import DataLoader

from ..rasters.reading import read_size
from ..utils.errors import InputError
from ..utils.shared_memory import FOLDER, free_shared_memory

_MOST = 8  # each prefetches two images and their labels in shared memory
_PREFETCH = 2  # batches that each worker prefetches, PyTorch's default
# Launcher → its variable for the number of processes on this machine.
_LOCAL_PROCESSES = {'pytorch': 'LOCAL_WORLD_SIZE', 'mpi': 'OMPI_COMM_WORLD_LOCAL_SIZE'}
_PIXEL = 3 + 8  # bytes of an image and its label, int64
_SAMPLED = 16  # images whose size is read


def count_cores() -> int:
    """Number of cores that this process may run on."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_num_workers(launcher: str, cores: int, environ: Mapping[str, str]) -> int:
    """Choose an equal share of a machine's cores, at least 1, at most 8.

    Args:
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        cores: Number of cores that this process may run on.
        environ: Environment variables; those of a launcher give the number of local processes.
    """
    if launcher == 'slurm':  # it assigns cores to processes, 1 by default
        cores = min(cores, int(environ.get('SLURM_CPUS_PER_TASK', 1)))
    elif launcher in ('pytorch', 'mpi'):
        cores //= int(environ.get(_LOCAL_PROCESSES[launcher], 1))
    return min(max(cores, 1), _MOST)


def check_dataloader(dataloader: Mapping[str, Any]) -> None:
    """Check the values of a config's ``test_dataloader`` on which PyTorch would fail.

    Raises:
        InputError: If a value has a wrong type or range, or needs workers and there are none.
    """
    for key, least in (('batch_size', 1), ('num_workers', 0), ('prefetch_factor', 1)):
        value = dataloader.get(key)
        if (key in dataloader or key == 'batch_size') and (type(value) is not int or value < least):
            if key != 'prefetch_factor' or value is not None:
                raise InputError(
                    f'test_dataloader.{key}={value!r} must be an integer of at least {least}'
                )
    persistent = dataloader.get('persistent_workers', False)
    if not isinstance(persistent, bool):
        raise InputError(f'test_dataloader.persistent_workers={persistent!r} must be True or False')
    if dataloader.get('num_workers') == 0:
        for key in ('persistent_workers', 'prefetch_factor'):
            if dataloader.get(key):
                raise InputError(
                    f'test_dataloader.{key}={dataloader[key]} needs num_workers of at least 1: '
                    'leave it out'
                )


def with_num_workers(dataloader: dict, launcher: str) -> dict:
    """Copy a config's data loader, and choose ``num_workers`` unless it is set.

    Args:
        dataloader: The config's ``test_dataloader``, with its dataset as config or built.
        launcher: See :func:`choose_num_workers`.

    Raises:
        InputError: See :func:`check_dataloader`.
    """
    check_dataloader(dataloader)
    dataloader = copy.copy(dataloader)
    if 'num_workers' not in dataloader:
        chosen = choose_num_workers(launcher, count_cores(), os.environ)
        processes = max(int(os.environ.get(_LOCAL_PROCESSES.get(launcher, ''), 1)), 1)
        dataloader['num_workers'] = _fit_shared_memory(chosen, dataloader, processes)
    if dataloader['num_workers']:  # PyTorch accepts the other keys only with workers
        dataloader.setdefault('persistent_workers', True)
    else:
        for key in ('persistent_workers', 'prefetch_factor'):
            dataloader.pop(key, None)
    return dataloader


def _fit_shared_memory(chosen: int, dataloader: Mapping[str, Any], processes: int) -> int:
    """Reduce the number of workers to what fits into shared memory.

    Args:
        chosen: Number of workers.
        dataloader: A config's ``test_dataloader``.
        processes: Number of evaluating processes that share the memory, each with workers.
    """
    size, free = _bytes_per_image(dataloader['dataset']), free_shared_memory()
    if size is None or free is None:
        return chosen
    # Less the batch that is being evaluated.
    batches = free // processes // (size * dataloader['batch_size']) - 1
    fitting = max(batches // (dataloader.get('prefetch_factor') or _PREFETCH), 0)
    if fitting < chosen:
        print_log(
            f'{FOLDER} has {free >> 20} MB free, and an image takes {size >> 20} MB: {fitting} '
            f'instead of {chosen} workers load images (for more, start the container with a larger '
            '--shm-size)',
            'current',
            logging.WARNING,
        )
    return min(chosen, fitting)


def _bytes_per_image(dataset: Any) -> int | None:
    """Bytes of the largest of some sampled images with its label; None if none can be read."""
    if not isinstance(dataset, BaseDataset):
        return None
    pixels = []
    for index in np.linspace(0, len(dataset) - 1, min(len(dataset), _SAMPLED)).astype(int):
        try:
            info = dataset.get_data_info(int(index))
            width, height = read_size(info['img_path'], info.get('map'))
            pixels.append(width * height)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            continue
    return _PIXEL * max(pixels) if pixels else None


def end_workers(loader: DataLoader) -> None:
    """End the processes of a loader with persistent workers.

    The garbage collector would wait up to 5 seconds for each of them.
    """
    iterator = getattr(loader, '_iterator', None)
    if iterator is not None:
        iterator._shutdown_workers()
        loader._iterator = None
