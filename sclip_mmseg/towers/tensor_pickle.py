"""An unpickler that knows tensors and containers, and runs nothing that a file names.

Checkpoints of a training hold its optimiser, its config and the like beside the weights. Unpickling
them would import and call what the file names; here all of that becomes an :class:`Inert` object.
Modules of TorchScript become :class:`Module`, which keeps their attributes.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

# (dtype, key, number of elements) → a vector of them
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
    """Takes whatever a pickle does to an object, and does nothing.

    Attributes:
        name: What the file calls its class or function.
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
    """A tensor that is not dense: sparse, quantised, without data and the like."""


class Module(Inert):
    """A module of TorchScript, whose code is not run.

    Attributes:
        state: What the file says of it: its attributes by name, unless it has code to read them.
    """

    state: Any = None


class _Tuple(tuple):
    """A tuple that is compared by identity: Python hashes nested ones without end, or crashes."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


class _Storage(NamedTuple):
    """Storage that tensors share: their elements, or bytes."""

    elements: Tensor
    typed: bool


def named(name: str, kind: type = Inert) -> type:
    """A class of objects that stand for what a file calls so."""
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
    """``torch._utils._rebuild_tensor_v3``, of bytes."""
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
    if extra:  # a view that conjugates or negates, by this mark alone
        return named('a view that negates', OddTensor)()
    return storage.elements.as_strided(size, stride, offset)


def _rebuild_parameter(data: Any, *_: object) -> Any:
    return data


def _rebuild_from_type(function: Any, kind: Any, args: Any, state: Any) -> Any:
    """``torch._tensor._rebuild_from_type_v2``, of a tensor that had attributes."""
    return function(*args)


# All that a file may name, besides storages and dtypes.
_ALLOWED = {
    ('collections', 'OrderedDict'): OrderedDict,
    ('torch._utils', '_rebuild_tensor'): _rebuild_tensor,
    ('torch._utils', '_rebuild_tensor_v2'): _rebuild_tensor,
    ('torch._utils', '_rebuild_tensor_v3'): _rebuild_typed_tensor,
    ('torch._utils', '_rebuild_parameter'): _rebuild_parameter,
    ('torch._utils', '_rebuild_parameter_with_state'): _rebuild_parameter,
    ('torch._tensor', '_rebuild_from_type_v2'): _rebuild_from_type,
}


# Python's own in Python: the one in C can be told to take any amount of memory.
class Unpickler(pickle._Unpickler):
    """Answers every name that is not one of a tensor's by :class:`Inert`, importing nothing.

    Args:
        file: The pickle.
        storages: Gives the elements of a tensor.
    """

    stack: list  # of the base class
    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: IO[bytes], storages: Storages):
        super().__init__(file, encoding='utf-8', errors='replace')
        self.storages = storages

    def find_class(self, module: str, name: str) -> Any:
        """The object that a file names."""
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module.partition('.')[0] == 'torch' and name in _DTYPES:
            return _DTYPES[name]
        if module == 'torch' and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        kinds = {'torch._utils': OddTensor, '__torch__': Module}
        return named(f'{module}.{name}', kinds.get(module, kinds.get(module.split('.')[0], Inert)))

    def persistent_load(self, pid: Any) -> Any:
        """Objects outside the pickle: storages, and the classes of modules."""
        if pid[0] == 'module':  # a class, with its source
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
        file: The pickle. What follows it is not read.
        storages: Gives the elements of a tensor.

    Raises:
        Exception: Any kind, if the file is not a pickle, or a forged one.
    """
    return Unpickler(file, storages).load()


def no_storages(dtype: torch.dtype, key: str, numel: int) -> Tensor:
    """For pickles that have no tensors."""
    raise pickle.UnpicklingError('a tensor where none should be')
