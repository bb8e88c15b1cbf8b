"""Protection from global settings of PyTorch that change float32 results."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from .errors import InputError

_AUTOCASTING = 'cpu', 'cuda', 'mps', 'xpu'


@contextmanager
def own_precision() -> Iterator[None]:
    """Compute in the model's own precision, whatever the caller has set.

    A caller's ``torch.autocast`` or default dtype would silently change cosines, and so classes.
    Does nothing if neither is set.
    """
    default = torch.get_default_dtype()
    with ExitStack() as stack:
        for kind in filter(_is_autocast, _AUTOCASTING):
            stack.enter_context(torch.autocast(kind, enabled=False))
        if default != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, default)
        yield


def _is_autocast(kind: str) -> bool:
    try:
        return torch.is_autocast_enabled(kind)
    except TypeError:  # torch < 2.4
        known = dict(cpu=torch.is_autocast_cpu_enabled, cuda=torch.is_autocast_enabled)
        return kind in known and known[kind]()


def check_matmul_precision() -> None:
    """Refuse reduced precision in products of float32 matrices.

    Cosines of different classes may differ by less than its rounding errors.

    Raises:
        InputError: If TF32 or bfloat16 is allowed in float32 matrix products.
    """
    backends = torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, 'matmul', None)
    new = [getattr(backend, 'fp32_precision', None) for backend in backends]  # torch >= 2.9
    reduced = set(new) & {'tf32', 'bf16'}
    if new[0] is None and torch.get_float32_matmul_precision() != 'highest':
        reduced = {torch.get_float32_matmul_precision()}
    if reduced:
        raise InputError(
            f'torch computes float32 products as {reduced.pop()}, which changes cosines and so '
            "classes: leave out allow_tf32 and set_float32_matmul_precision('highest'); for speed "
            "set model.image_encoder.precision='bf16'"
        )
