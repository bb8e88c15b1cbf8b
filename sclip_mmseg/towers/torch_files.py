"""Reading of files of torch.save and torch.jit.save, without running any code in them.

``torch.load`` and ``torch.jit.load`` are not used, as both can run code in a file.
"""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..utils.errors import InputError
from . import tensor_pickle
from .layouts import StateDict

# Neither weights nor TorchScript code compress that well; sizes below _SMALL are always allowed.
_LARGEST_RATIO, _SMALL = 8, 1 << 28
_DEEPEST, _MOST = 64, 100_000  # nesting of TorchScript modules, and their number
_CLASS = re.compile(
    r'^class (\w+)\(Module\):\n((?:  __(?:parameters|buffers)__ = .*\n)*)', re.MULTILINE
)


def read_archive(path: Path) -> Any:
    """Read an archive of torch.save or torch.jit.save."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        check_size(sum(info.file_size for info in infos), path)
        [root] = {m[1] for m in (re.fullmatch('([^/]*/)data.pkl', i.filename) for i in infos) if m}
        if f'{root}byteorder' in archive.namelist():
            _check_order(archive.read(f'{root}byteorder') == b'little')
        storages: dict[str, Tensor] = {}

        def storage(dtype: torch.dtype, key: str, numel: int) -> Tensor:
            if key not in storages:
                data = bytearray(archive.read(f'{root}data/{key}'))
                storages[key] = torch.empty(0, dtype=torch.uint8)
                if data:
                    storages[key] = torch.frombuffer(data, dtype=torch.uint8)
            return storages[key].view(dtype)

        content = tensor_pickle.load(io.BytesIO(archive.read(f'{root}data.pkl')), storage)
        if isinstance(content, tensor_pickle.Module):
            prefix = f'{root}code/'
            code = {
                name[len(prefix) : -len('.py')].replace('/', '.'): archive.read(name).decode()
                for name in archive.namelist()
                if name.startswith(prefix) and name.endswith('.py')
            }
            return _state_of_module(content, code, path)
    return content


def _state_of_module(module: tensor_pickle.Module, code: dict[str, str], path: Path) -> StateDict:
    """The tensors in the ``state_dict`` of a TorchScript module.

    Args:
        module: The module.
        code: Its code by names of Python modules. It is searched, not run.
        path: The archive, for error messages.

    Raises:
        InputError: If the tensors are set by code.
        ValueError: If the archive is forged.
    """
    kept = {}  # class → its parameters and buffers; other tensors are not in the state dict
    for place, text in code.items():
        if 'def __setstate__' in text:
            raise InputError(
                f'{path} is a TorchScript archive that sets its tensors by code (__setstate__ of '
                f'{place[:80]!r}), which is not run: save only the state dict'
            )
        for name, lists in _CLASS.findall(text):
            kept[f'{place}.{name}'] = set(re.findall(r'"(.*?)"', lists))
    found: StateDict = {}
    todo: list[tuple[str, Any]] = [('', module)]
    while todo:
        prefix, module = todo.pop()
        if prefix.count('.') > _DEEPEST or len(todo) + len(found) > _MOST:
            raise ValueError('it claims too many modules')
        for name, value in module.state.items():
            if isinstance(value, tensor_pickle.Module):
                todo.append((f'{prefix}{name}.', value))
            elif name in kept[module.name] and value is not None:
                found[f'{prefix}{name}'] = value
    return found


def _check_order(is_little: bool) -> None:
    if not is_little:
        raise ValueError('it was written by a big-endian machine')


def read_legacy(path: Path) -> Any:
    """Read a file of torch.save before PyTorch 1.6: pickles, followed by the storages."""
    rest = path.stat().st_size
    storages: dict[str, Tensor] = {}

    def storage(dtype: torch.dtype, key: str, numel: int) -> Tensor:
        nonlocal rest
        if key not in storages:
            nbytes = numel * dtype.itemsize
            rest -= nbytes
            if nbytes < 0 or rest < 0:
                raise ValueError('it contains less data than it claims')
            storages[key] = torch.zeros(nbytes, dtype=torch.uint8)
        return storages[key].view(dtype)

    with open(path, 'rb') as file:
        _, _, system = (tensor_pickle.load(file, tensor_pickle.no_storages) for _ in range(3))
        _check_order(system['little_endian'])
        content = tensor_pickle.load(file, storage)
        keys = tensor_pickle.load(file, tensor_pickle.no_storages)
        if set(keys) != set(storages):
            raise ValueError('it lacks the data of its tensors')
        for key in keys:
            file.read(8)  # the number of elements
            if file.readinto(storages[key].numpy().data) < len(storages[key]):
                raise EOFError('it ends too early')
    return content


def check_size(claimed: int, path: Path) -> None:
    """Refuse a decompression bomb: a small file that claims to contain a lot of data.

    Raises:
        InputError: If ``claimed``, in bytes, is too large for the file.
    """
    size = path.stat().st_size
    if claimed > max(_LARGEST_RATIO * size, _SMALL):
        raise InputError(
            f'{path} claims to contain {claimed / 2**30:.1f} GiB of tensors in '
            f'{size / 2**20:.1f} MiB, more than {_LARGEST_RATIO} times its size: it is damaged or '
            'forged'
        )
