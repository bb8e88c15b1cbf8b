"""A stand-in for an accelerator, for machines without one: the device ``other``.

Its tensors lie in the CPU's memory and are computed with there, but PyTorch takes them for those of
another device. What mixes them with the CPU's, or reads them as NumPy's, fails as on a GPU.
"""

from functools import cache, partial

import torch
from torch.utils import _pytree as pytree
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

NAME = 'other'

# What takes tensors of two devices: copies, and indexing by indices of the CPU.
_COPIES = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}
_INDEXING = {
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
    torch.ops.aten._index_put_impl_.default,
}
# Beside that a single number of the CPU, but not in a list of tensors.
_JOINING = {torch.ops.aten.stack.default, torch.ops.aten.cat.default}


class OtherTensor(torch.Tensor):
    """A tensor of the other device, around one of the CPU."""

    @staticmethod
    def __new__(cls, held):
        """Take shape, strides and dtype from the tensor that it holds."""
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
            requires_grad=held.requires_grad,
        )

    def __init__(self, held):
        """Hold a tensor of the CPU."""
        self.held = held

    def __repr__(self):
        """Show what it holds."""
        return f'{NAME}({self.held})'

    @property
    def data(self):
        """The same values apart from autograd; what is put in their place is held, too."""
        return torch.Tensor.data.__get__(self)

    @data.setter
    def data(self, value):
        torch.Tensor.data.__set__(self, value)
        self.held = value.held

    def tolist(self):
        """Copy to the host, as every device's tensors can."""
        return self.held.tolist()

    def numpy(self, *args, **kwargs):
        """Refuse, as every device's tensors do."""
        raise TypeError(f"can't convert {NAME}:0 device type tensor to numpy")

    __array__ = numpy

    @classmethod
    def __torch_dispatch__(cls, op, types, args=(), kwargs=None):
        """Compute on the CPU."""
        return _compute(op, args, kwargs or {})


def _compute(op, args, kwargs):
    values, structure = pytree.tree_flatten((args, kwargs))
    others = [value for value in values if isinstance(value, OtherTensor)]
    if others and op not in _COPIES:
        # With indexing, only the indexed tensor and the assigned values count.
        _refuse_two_devices(op, (args[0], *args[2:3]) if op in _INDEXING else values)
    asked = [value for value in values if isinstance(value, torch.device)]
    on_other = asked[0].type == NAME if asked else bool(others)
    held = [_on_cpu(value) for value in values]
    args, kwargs = pytree.tree_unflatten(held, structure)
    result = op(*args, **kwargs)
    if op is torch.ops.aten.copy_.default:
        return values[0]
    if not on_other:
        return result
    known = {id(value.held): value for value in others}  # of ops in place

    def wrapped(made):
        return known[id(made)] if id(made) in known else OtherTensor(made)

    return pytree.tree_map_only(torch.Tensor, wrapped, result)


def _on_cpu(value):
    if isinstance(value, OtherTensor):
        return value.held
    if isinstance(value, torch.device) and value.type == NAME:
        return torch.device('cpu')
    return value


def _refuse_two_devices(op, values):
    for value in values:
        if isinstance(value, torch.Tensor) and not isinstance(value, OtherTensor):
            if value.ndim or op in _JOINING:
                raise RuntimeError(f'{op} got tensors of two devices, {NAME} and {value.device}')


class _Factories(TorchDispatchMode):
    """Sees the ops that make tensors, which have none to go by."""

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        return _compute(op, args, kwargs or {})


def is_supported():
    """Whether this PyTorch has devices written in Python, an experimental function of new ones."""
    return hasattr(backend_registration, '_setup_privateuseone_for_python_backend')


@cache
def device():
    """Make the device known to PyTorch, which keeps it until the process ends."""
    backend_registration._setup_privateuseone_for_python_backend(NAME)
    # What indexing by a list calls, out of sight of modes and subclasses.
    aten = torch.library.Library('aten', 'IMPL')
    for name in ('empty_strided', '_copy_from'):
        op = getattr(torch.ops.aten, name).default
        aten.impl(name, partial(_call, op), 'PrivateUse1')
    device.library = aten
    _Factories().__enter__()
    return torch.device(NAME)


def _call(op, *args, **kwargs):
    if op is torch.ops.aten._copy_from.default:
        source, target, *_ = map(_on_cpu, args)
        target.copy_(source)
        return args[1]
    return _compute(op, args, kwargs)
