"""A cache of tensors, bounded in bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import torch
from torch import Tensor


def cached_tensors(max_bytes: int) -> Callable:
    """Cache the results of a function with hashable arguments that returns tensors.

    The least recently used results are dropped once all together exceed ``max_bytes``; a larger
    result is not cached at all. Results are computed outside inference mode, so that autograd can
    use them. The cache is bypassed while a program is traced, for example by ``torch.export``.
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
    """Whether new tensors are fake or recorded by a trace, and so only valid within it."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return True
    probe = torch.empty(0)
    return type(probe) is not Tensor or torch._is_functional_tensor(probe)


def size_of(value: Any) -> int:
    """Size in bytes of the tensors in a value, including nested lists and tuples."""
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(value))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
