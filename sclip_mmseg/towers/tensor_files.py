"""Reading of the tensors in checkpoint files, without running any code in them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..utils.errors import InputError, first_line, join_first
from ..utils.file_kinds import (
    CUT_ZIP,
    DAMAGED,
    SAFETENSORS,
    TORCH_LEGACY,
    TORCH_ZIP,
    TORCHSCRIPT,
    Kind,
    kind_of,
)
from . import tensor_pickle
from .layouts import StateDict
from .torch_files import check_size, read_archive, read_legacy

# Entries in which training frameworks store the weights, in order of preference.
_ENTRIES = ('state_dict_ema', 'state_dict', 'model_state_dict', 'model', 'module', 'weights')
_LONGEST_NAME = 500
# Prefixes of tensor names added by wrappers used in training.
_WRAPPERS = re.compile(
    r'(?:^|(?<=\.))(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.'
)


def read_tensors(path: Path) -> StateDict:
    """Read the tensors of a checkpoint without running any code in it.

    Args:
        path: A TorchScript archive such as OpenAI's; a state dict of ``torch.save``, or a training
            checkpoint with one as an entry (``state_dict``, ``model``, …); or a safetensors file.
            The file's name does not matter.

    Returns:
        The tensors on the CPU by the file's names, without prefixes of wrappers such as
        ``module.``.

    Raises:
        InputError: If the file is of another kind, damaged, or forged.
    """
    content = _read(path)
    found = _state_dict(content, path)
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in found.values())
    check_size(claimed, path)
    return _without_wrappers(found)


def read_tensor(path: Path) -> Tensor:
    """Read a single tensor from a file of torch.save without running any code in it.

    Raises:
        InputError: If the file contains something else, is damaged, or forged.
    """
    content = _read(path)
    if not isinstance(content, Tensor):
        raise InputError(f'{path} contains {_describe(content)}, not a single tensor')
    check_size(content.numel() * content.element_size(), path)
    return content


def _read(path: Path) -> Any:
    try:
        kind = kind_of(path)
    except OSError as error:
        raise InputError(f'{path} cannot be read ({error.strerror})') from error
    if kind not in _READERS:
        raise InputError(f'{path} is {kind.description}, not a checkpoint: {kind.remedy}')
    try:
        content = _READERS[kind](path)
    except InputError:
        raise
    except (*DAMAGED, SafetensorError) as error:
        raise InputError(
            f'{path} cannot be read as a checkpoint ({first_line(error)}): it is truncated, '
            'damaged or of another format. Download it again'
        ) from error
    return content


_READERS: dict[Kind, Callable[[Path], Any]] = {
    SAFETENSORS: load_file,
    TORCH_ZIP: read_archive,
    CUT_ZIP: read_archive,  # raises an error that says what is wrong
    TORCHSCRIPT: read_archive,
    TORCH_LEGACY: read_legacy,
}


def _state_dict(content: Any, path: Path) -> StateDict:
    """The tensors in a file's content, or in a state dict inside it."""
    if not isinstance(content, dict):
        raise InputError(f'{path} contains {_describe(content)}, not a state dict. {_SAVE}')
    dicts = _dicts_of_tensors(content)
    if len(dicts) > 1:
        names = join_first(list(map(_quote, dicts)), limit=5)
        raise InputError(f'{path} contains several state dicts, {names}: save only one of them')
    if not dicts:
        entries = join_first([f'{_quote(key)} ({_describe(content[key])})' for key in content])
        raise InputError(f'{path} contains no tensors{entries and f", but {entries}"}. {_SAVE}')
    [found] = dicts.values()
    for key, value in found.items():
        if isinstance(value, tensor_pickle.OddTensor):
            raise InputError(
                f'{path}: {_quote(key)} is not a plain dense tensor ({value.name[:80]!r}): save it '
                'as a dense tensor'
            )
    tensors = {key: value for key, value in found.items() if _is_weight(key, value)}
    for key in tensors:
        if len(key) > _LONGEST_NAME or not key.isprintable():
            raise InputError(
                f'{path}: {_quote(key)} is not a valid name of a tensor, the file is damaged or '
                'forged'
            )
    return tensors


_SAVE = (
    'Objects are not loaded because unpickling runs code. Save only the state dict: '
    'torch.save(model.state_dict(), PATH)'
)


def _is_weight(key: Any, value: Any) -> bool:
    return isinstance(key, str) and isinstance(value, (Tensor, tensor_pickle.OddTensor))


def _count(content: dict) -> int:
    return sum(_is_weight(key, value) for key, value in content.items())


def _dicts_of_tensors(content: dict, levels: int = 2) -> dict[str, dict]:
    """Dicts that directly contain tensors, by their keys; only the usual entry if there is one."""
    dicts: dict[str, dict] = {}
    entries = [key for key in _ENTRIES if isinstance(content.get(key), dict)]
    for key in [*entries, *content] if levels else []:
        if isinstance(key, str) and isinstance(content[key], dict):
            inner = _dicts_of_tensors(content[key], levels - 1)
            dicts.update({f'{key}.{name}'.rstrip('.'): found for name, found in inner.items()})
            if inner and key in entries:
                return dicts
    own = _count(content)
    return {'': content} if own > max(map(_count, dicts.values()), default=0) else dicts


def _without_wrappers(found: StateDict) -> StateDict:
    """Remove the prefixes of training wrappers, unless names would then coincide."""
    names = {key: _WRAPPERS.sub('', key) for key in found}
    if all(name.startswith('model.') for name in names.values()):
        names = {key: name[len('model.') :] for key, name in names.items()}
    if len(set(names.values())) < len(names):
        return found
    return {names[key]: value for key, value in found.items()}


def _describe(value: Any) -> str:
    if isinstance(value, tensor_pickle.Inert):
        return f'an object of {value.name[:80]!r}'
    return f'a {type(value).__name__}'


def _quote(key: Any) -> str:
    return repr(key[:80]) if isinstance(key, str) else f'a {type(key).__name__}'
