"""Helpers with more precise types than PyTorch's own annotations."""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

Module = TypeVar('Module', bound=nn.Module)


def module_list(modules: Iterable[Module]) -> Sequence[Module]:
    """A :class:`torch.nn.ModuleList` whose items have a known class."""
    return cast(Sequence[Module], nn.ModuleList(modules))


def total(tensors: Iterable[Tensor]) -> Tensor:
    """The sum of tensors; ``sum`` would start with the integer 0."""
    return reduce(torch.add, tensors)


def height_width(maps: Tensor) -> tuple[int, int]:
    """H and W of maps ``[..., H, W]``; type checkers do not know the length of ``shape[-2:]``."""
    return maps.shape[-2], maps.shape[-1]


def is_exporting() -> bool:
    """Whether ``torch.export`` is running; False before PyTorch 2.7, which cannot tell."""
    return getattr(torch.compiler, 'is_exporting', bool)()
