"""A stand-in for :mod:`pickle` in ``torch.load`` that knows tensors and runs nothing else.

Checkpoints of a training hold its optimiser, its config and the like beside the weights. Unpickling
them would import and call what the file names; here all of that becomes an :class:`Inert` object.
"""

import pickle
from collections import OrderedDict
from typing import IO, Any

from torch import _utils

# All that a file may name, besides torch's storages, which torch.load looks up itself.
_ALLOWED = {
    ('collections', 'OrderedDict'): OrderedDict,
    ('torch._utils', '_rebuild_tensor_v2'): _utils._rebuild_tensor_v2,
    ('torch._utils', '_rebuild_parameter'): _utils._rebuild_parameter,
}


class Inert:
    """Takes whatever a pickle does to an object, and does nothing."""

    def __new__(cls, *args, **kwargs):  # noqa: D102
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def _ignore(self, *args, **kwargs) -> 'Inert':
        return self

    __call__ = __setstate__ = __setitem__ = append = extend = add = _ignore


class Unpickler(pickle.Unpickler):
    """Answers every name that is not one of a tensor's by :class:`Inert`, importing nothing."""

    def find_class(self, module: str, name: str) -> Any:
        """The object that a file names."""
        return _ALLOWED.get((module, name), Inert)


def load(file: IO[bytes], **kwargs) -> Any:
    """Read one pickle, as :func:`pickle.load` does."""
    return Unpickler(file, **kwargs).load()
