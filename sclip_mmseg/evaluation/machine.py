"""Descriptions of the machine and the model of a result."""

import platform
import sys

import mmcv
import mmengine
import mmseg
import torch

from ..config import named_weights
from ..registry import type_name
from ..utils.errors import InputError
from ..version import __version__


def describe_machine() -> dict[str, str]:
    """Describe versions and device."""
    versions = {m.__name__: m.__version__ for m in (torch, mmseg, mmengine, mmcv)}
    versions = {'sclip_mmseg': __version__, **versions}
    cuda = torch.cuda.is_available()
    return dict(
        versions=', '.join(f'{name} {version}' for name, version in versions.items()),
        python=platform.python_version(),
        device=torch.cuda.get_device_name() if cuda else f'CPU ({platform.machine()})',
    )


def describe_model(model: dict) -> dict[str, str | None]:
    """Describe method, weights and name list by their names in the config.

    Args:
        model: The config's ``model``.
    """
    model = model.get('module', model)  # of test-time augmentation
    encoder, head = model.get('image_encoder', {}), model.get('text_head', {})
    queries = head.get('embeddings') or head.get('queries')
    return dict(
        method=_kind(encoder.get('method')) or _kind(encoder),
        weights=named_weights(encoder),
        queries=queries if isinstance(queries, str) else None,  # otherwise a list in the config
    )


def _kind(cfg: dict | None) -> str | None:
    return type_name(cfg) if cfg and cfg.get('type') else None


def peak_memory() -> int | None:
    """Peak memory of this process in bytes, on the GPU if there is one; None on Windows."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if sys.platform == 'win32':
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else 1024 * peak  # elsewhere in KiB


def check_processes(number: int) -> None:
    """Check that a number of processes can run, each on its own GPU if there are GPUs.

    Raises:
        InputError: If there are fewer GPUs.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else number
    if not 1 <= number <= gpus:
        raise InputError(f'--processes {number}: use 1 to {gpus}, the number of GPUs')
