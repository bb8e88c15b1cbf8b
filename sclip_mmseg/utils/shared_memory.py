"""Room in the memory through which the processes of a data loader hand images over."""

import os
import shutil
from collections.abc import Iterable

from torch import Tensor
from torch.utils.data import get_worker_info

from .errors import InputError

FOLDER = '/dev/shm'


def free_shared_memory() -> int | None:
    """Free bytes; None where the system has no such folder."""
    return shutil.disk_usage(FOLDER).free if os.path.isdir(FOLDER) else None


def share(tensors: Iterable[Tensor]) -> None:
    """Move tensors of a loader's process to shared memory; elsewhere, do nothing.

    PyTorch would do so in a thread of its own, whose failure leaves the main process waiting for
    ever.

    Raises:
        InputError: If there is no room.
    """
    if get_worker_info() is None:
        return
    try:
        for tensor in tensors:
            tensor.share_memory_()
    except RuntimeError as error:  # as PyTorch raises it
        if 'shared memory' not in str(error):
            raise
        raise InputError(
            f'{FOLDER} has no room for the images that other processes load: set '
            'test_dataloader.num_workers=0, or give a container more by --shm-size=8g'
        ) from error
