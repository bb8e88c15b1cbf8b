"""A restricted unpickler for tensors and containers, which runs no code of a file.

Training checkpoints contain an optimiser, a config and other objects beside the weights. Unpickling
these would import and call whatever the file names; here they become :class:`Inert` objects.
TorchScript modules become :class:`Module`, which keeps their attributes.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

# (dtype, key, number of elements) → 1D tensor
Storages = Callable[[torch.dtype, str, int], Tensor]

_DTYPES = {
    'BFloat16Storage': torch.bfloat16,
    'BoolStorage': torch.bool,
    'ByteStorage': torch.uint8,
    'CharStorage': torch.int8,
    'ComplexDoubleStorage': torch.complex128,
    'ComplexFloatStorage': torch.complex64,
    'DoubleStorage': torch.float64,
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'IntStorage': torch.int32,
    'LongStorage': torch.int64,
    'ShortStorage': torch.int16,
    'UntypedStorage': None,  # bytes
}


class Inert:
    """Placeholder that ignores everything that a pickle does to an object.

    Attributes:
        name: Name of its class or function in the file.
    """

    name = ''

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def _ignore(self, *args: Any, **kwargs: Any) -> 'Inert':
        return self

    __call__ = __setitem__ = append = extend = add = _ignore


class OddTensor(Inert):
    """Placeholder for a tensor that is not dense: sparse, quantised, without data, etc."""


class Module(Inert):
    """A TorchScript module, whose code is not run.

    Attributes:
        state: The module's attributes by name, unless it sets them by code.
    """

    state: Any = None


class _Tuple(tuple):
    """A tuple compared by identity: hashing deeply nested tuples takes forever or crashes."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


class _Storage(NamedTuple):
    """Storage shared by tensors: typed elements, or bytes."""

    elements: Tensor
    typed: bool


def named(name: str, kind: type) -> type:
    """Create a placeholder class for a name in a file."""
    return type('Named', (kind,), {'name': name})


def _rebuild_tensor(storage: Any, *arguments: Any) -> Any:
    """``torch._utils._rebuild_tensor_v2``."""
    if isinstance(storage, _Storage) and not storage.typed:
        raise TypeError('bytes where numbers should be')
    return _rebuild(storage, *arguments)


def _rebuild_typed_tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    extra: Any = None,
) -> Any:
    """``torch._utils._rebuild_tensor_v3``, for storages of bytes."""
    storage = storage._replace(elements=storage.elements.view(dtype))
    return _rebuild(storage, offset, size, stride, extra=extra)


def _rebuild(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any = False,
    hooks: Any = (),
    extra: Any = None,
) -> Any:
    if isinstance(storage, Inert):
        return storage
    if extra:  # a lazily conjugated or negated view
        return named('a conjugated or negated view', OddTensor)()
    return storage.elements.as_strided(size, stride, offset)


def _rebuild_parameter(data: Any, *_: object) -> Any:
    return data


def _rebuild_from_type(function: Any, kind: Any, args: Any, state: Any) -> Any:
    """``torch._tensor._rebuild_from_type_v2``, for tensors with attributes."""
    return function(*args)


# All names that a file may use, besides storages and dtypes.
_ALLOWED = {
    ('collections', 'OrderedDict'): OrderedDict,
    ('torch._utils', '_rebuild_tensor'): _rebuild_tensor,
    ('torch._utils', '_rebuild_tensor_v2'): _rebuild_tensor,
    ('torch._utils', '_rebuild_tensor_v3'): _rebuild_typed_tensor,
    ('torch._utils', '_rebuild_parameter'): _rebuild_parameter,
    ('torch._utils', '_rebuild_parameter_with_state'): _rebuild_parameter,
    ('torch._tensor', '_rebuild_from_type_v2'): _rebuild_from_type,
}


# The pure-Python base class: a file can make the one in C allocate any amount of memory.
class Unpickler(pickle._Unpickler):
    """Resolves names that tensors need, and all others to :class:`Inert`; imports nothing.

    Args:
        file: The pickle.
        storages: Function that returns the elements of a storage.
    """

    stack: list  # of the base class
    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: IO[bytes], storages: Storages):
        super().__init__(file, encoding='utf-8', errors='replace')
        self.storages = storages

    def find_class(self, module: str, name: str) -> Any:
        """Resolve a name in the file."""
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module.partition('.')[0] == 'torch' and name in _DTYPES:
            return _DTYPES[name]
        if module == 'torch' and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        kinds = {'torch._utils': OddTensor, '__torch__': Module}
        return named(f'{module}.{name}', kinds.get(module, kinds.get(module.split('.')[0], Inert)))

    def persistent_load(self, pid: Any) -> Any:
        """Resolve objects outside the pickle: storages, and classes of modules."""
        if pid[0] == 'module':  # a class with its source code
            return pid[1]
        kind, dtype, key, _, numel, *view = pid
        if kind != 'storage' or any(view):
            raise pickle.UnpicklingError('a storage of an unknown kind')
        if dtype is None:
            return _Storage(self.storages(torch.uint8, key, numel), typed=False)
        if not isinstance(dtype, torch.dtype):
            return named(dtype.name, OddTensor)()
        return _Storage(self.storages(dtype, key, numel), typed=True)


def _load_build(unpickler: Any) -> None:
    state = unpickler.stack.pop()
    if isinstance(unpickler.stack[-1], Module):
        unpickler.stack[-1].state = state


def _as_tuple(load_opcode: Callable) -> Callable:
    def load_tuple(unpickler: Any) -> None:
        load_opcode(unpickler)
        unpickler.stack[-1] = _Tuple(unpickler.stack[-1])

    return load_tuple


Unpickler.dispatch[pickle.BUILD[0]] = _load_build
for _opcode in (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3):
    Unpickler.dispatch[_opcode[0]] = _as_tuple(Unpickler.dispatch[_opcode[0]])


def load(file: IO[bytes], storages: Storages) -> Any:
    """Read one pickle.

    Args:
        file: The pickle; bytes after it are not read.
        storages: Function that returns the elements of a storage.

    Raises:
        Exception: Any exception, if the file is not a pickle, or is forged.
    """
    return Unpickler(file, storages).load()


def no_storages(dtype: torch.dtype, key: str, numel: int) -> Tensor:
    """Argument ``storages`` for pickles without tensors."""
    raise pickle.UnpicklingError('a tensor where none should be')
