"""Exact search over the keys of a bank."""

import torch
from torch import Tensor, nn

_ENTRIES = 1 << 21  # elements of a block of keys, and of its products
_KEPT = 1 << 27  # maximum number of elements kept in float32


class FlatIndex(nn.Module):
    """Keys that are searched exactly.

    Args:
        keys: Vectors ``[N, C]``, of any norm and floating dtype.
        unit: Whether inner products are compared instead of cosines.
    """

    keys: Tensor
    scale: Tensor | None

    def __init__(self, keys: Tensor, unit: bool = False):
        super().__init__()
        self.width, scale = keys.shape[1], None
        if not unit:
            norms = [block.float().norm(dim=1) for block in keys.split(_step(keys))]
            scale = 1 / (torch.cat(norms) + 1e-12)
        if keys.numel() <= _KEPT:
            if scale is None:
                keys = keys.float()
            else:
                keys, scale = keys.to(torch.float32, copy=True).mul_(scale[:, None]), None
        self.register_buffer('keys', keys, persistent=False)
        self.register_buffer('scale', scale, persistent=False)

    def search(self, queries: Tensor, count: int) -> Tensor:
        """Find the rows of largest cosine.

        Args:
            queries: Vectors of unit length, float32 ``[R, C]``.
            count: Number of rows for each query.

        Returns:
            Numbers of the rows, int64 ``[R, count]``, the nearest first; -1 if there are fewer.
        """
        scores: list[Tensor] = []
        numbers: list[Tensor] = []
        step = _step(self.keys, len(queries))
        for start in range(0, len(self.keys), step):
            keys = self.keys[start : start + step]
            products = queries @ keys.float().T
            if self.scale is not None:
                products *= self.scale[start : start + step]
            best = products.topk(min(count, len(keys)))
            scores.append(best.values)
            numbers.append(best.indices + start)
        found = torch.cat(scores, 1)
        best = found.topk(min(count, found.shape[1]))
        rows = torch.cat(numbers, 1).gather(1, best.indices)
        return nn.functional.pad(rows, (0, count - rows.shape[1]), value=-1)


def _step(keys: Tensor, queries: int = 1) -> int:
    return max(_ENTRIES // max(keys.shape[1], queries), 1)
