"""Types that torch's own annotations leave open."""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

Module = TypeVar('Module', bound=nn.Module)


def module_list(modules: Iterable[Module]) -> Sequence[Module]:
    """An :class:`torch.nn.ModuleList`, whose items are of a known class."""
    return cast(Sequence[Module], nn.ModuleList(modules))


def total(tensors: Iterable[Tensor]) -> Tensor:
    """Their sum, which ``sum`` would begin with the integer 0."""
    return reduce(torch.add, tensors)


def height_width(maps: Tensor) -> tuple[int, int]:
    """The last two sides of maps ``[..., H, W]``; ``shape[-2:]`` may be of any length to a type."""
    return maps.shape[-2], maps.shape[-1]


def is_exporting() -> bool:
    """Whether ``torch.export`` is at work, which PyTorch can tell from version 2.7 on."""
    return getattr(torch.compiler, 'is_exporting', bool)()
