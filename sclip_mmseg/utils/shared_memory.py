"""Shared memory, through which the workers of a data loader pass images."""

import os
import shutil
from collections.abc import Iterable

from torch import Tensor
from torch.utils.data import get_worker_info

from .errors import InputError

FOLDER = '/dev/shm'


def free_shared_memory() -> int | None:
    """Free shared memory in bytes; None on systems without ``/dev/shm``."""
    return shutil.disk_usage(FOLDER).free if os.path.isdir(FOLDER) else None


def share(tensors: Iterable[Tensor]) -> None:
    """Move tensors to shared memory in a data loader's worker; elsewhere, do nothing.

    PyTorch would do so in a separate thread, whose failure makes the main process wait forever.

    Raises:
        InputError: If there is not enough shared memory.
    """
    if get_worker_info() is None:
        return
    try:
        for tensor in tensors:
            tensor.share_memory_()
    except RuntimeError as error:  # PyTorch has no more specific exception
        if 'shared memory' not in str(error):
            raise
        raise InputError(
            f'{FOLDER} is too small for the images that worker processes load: set '
            'test_dataloader.num_workers=0, or start the container with --shm-size=8g'
        ) from error
