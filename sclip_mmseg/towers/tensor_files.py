"""A checkpoint's file → its tensors, running none of its code."""

import pickle
import tarfile
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..utils.errors import InputError
from . import tensor_pickle
from .layouts import StateDict


def read_tensors(path: Path, archives: bool = True) -> StateDict:
    """Read the tensors of a checkpoint, running none of its code.

    Args:
        path: OpenAI's TorchScript archive, a state dict (``.pt``, ``.pth``, ``.bin``), alone or as
            ``state_dict`` or ``model`` beside whatever else a training saves, or a ``.safetensors``
            file.
        archives: Whether TorchScript archives are read. They hold programs, so those of anybody
            are not.

    Returns:
        On the CPU, by the file's names, without the ``module.`` of a distributed training.

    Raises:
        InputError: If the file is truncated or of another kind.
    """
    if not archives and path.suffix != '.safetensors' and _is_torchscript(path):
        raise InputError(f'{path} is a TorchScript archive, which is read by path alone: give it')
    return {key.removeprefix('module.'): value for key, value in _read(path).items()}


def _read(path: Path) -> StateDict:
    """Read whatever state dict a file holds, running none of its code."""
    try:
        if path.suffix == '.safetensors':
            return load_file(path)
        if _is_torchscript(path):
            return dict(torch.jit.load(path, map_location='cpu').state_dict())
        if tarfile.is_tarfile(path):
            raise OSError("an archive, torch's format of 2017")  # which is extracted to be read
        content = torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, AssertionError, AttributeError, LookupError, TypeError):
        return _read_training(path)
    except (RuntimeError, EOFError, OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f'{path} cannot be read as a checkpoint ({_first_line(error)}): it is truncated or '
            'of another format. Fetch it again'
        ) from error
    if not isinstance(content, dict):
        raise InputError(f'{path} holds a {type(content).__name__}, not a state dict of tensors')
    return _state_dict(content)


def _read_training(path: Path) -> StateDict:
    """Read the state dict of a file that holds other objects too, none of which is made."""
    error = None
    try:
        tensors = _state_dict(
            torch.load(path, map_location='cpu', weights_only=False, pickle_module=tensor_pickle)
        )
        if tensors:
            return tensors
    except Exception as caught:  # whatever a file of another kind, or a forged one, leads to
        error = caught
    raise InputError(
        f'{path} is no checkpoint, or holds more than tensors where the state dict should be, '
        'which is not loaded, since unpickling runs code. Save the state dict alone: '
        'torch.save(model.state_dict(), PATH)'
    ) from error


def _state_dict(content: dict) -> StateDict:
    """The tensors of a file's content, or of the state dict in it."""
    for key in ('state_dict', 'model'):
        if isinstance(content.get(key), dict):
            content = content[key]
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith('/constants.pkl') for name in archive.namelist())


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
