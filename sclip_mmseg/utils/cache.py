"""A cache of tensors that knows how many bytes it holds."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import torch
from torch import Tensor


def cached_tensors(max_bytes: int) -> Callable:
    """Decorate a function of hashable arguments whose result is, or holds, tensors.

    The results used last are kept as long as all together take at most ``max_bytes``; a larger one
    is not kept at all. They are made outside inference mode, so that autograd may use them too.
    While a program is traced, such as by ``torch.export``, nothing is kept or taken from the cache.
    """

    def decorate(function: Callable) -> Callable:
        kept: OrderedDict[Any, Any] = OrderedDict()
        lock = threading.Lock()

        @wraps(function)
        def cached(*key: Any) -> Any:
            if _is_traced():
                return function(*key)
            with lock:
                if key in kept:
                    kept.move_to_end(key)
                    return kept[key]
            with torch.inference_mode(False), torch.no_grad():
                result = function(*key)
            with lock:
                kept[key] = result
                while kept and sum(map(size_of, kept.values())) > max_bytes:
                    kept.popitem(last=False)
            return result

        return cached

    return decorate


def _is_traced() -> bool:
    """Whether tensors made now stand for others, or a trace records them: both are of one trace."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return True
    probe = torch.empty(0)
    return type(probe) is not Tensor or torch._is_functional_tensor(probe)


def size_of(value: Any) -> int:
    """Bytes of the tensors in a value, nested lists and tuples included."""
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(value))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
