"""What results were made with."""

import platform
from typing import Dict

import mmcv
import mmengine
import mmseg
import torch

from ..utils.errors import InputError
from ..version import __version__


def describe_machine() -> Dict[str, str]:
    """Versions and device."""
    versions = {m.__name__: m.__version__ for m in (torch, mmseg, mmengine, mmcv)}
    versions = {'sclip_mmseg': __version__, **versions}
    cuda = torch.cuda.is_available()
    return dict(
        versions=', '.join(f'{name} {version}' for name, version in versions.items()),
        python=platform.python_version(),
        device=torch.cuda.get_device_name() if cuda else f'CPU ({platform.machine()})',
    )


def check_processes(number: int) -> None:
    """See whether so many processes can run, each on a GPU where there is one.

    Raises:
        InputError: If there are fewer GPUs.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else number
    if not 1 <= number <= gpus:
        raise InputError(f'--nproc-per-node {number}: use 1 to {gpus}, the number of GPUs')
