"""Exact search over the keys of a bank."""

import torch
from torch import Tensor, nn

_ENTRIES = 1 << 24  # of a block of keys, and of its products


class Rows(nn.Module):
    """Keys, compared one by one.

    Args:
        keys: ``[N, C]``, of any length and floating dtype.
    """

    keys: Tensor
    scale: Tensor

    def __init__(self, keys: Tensor):
        super().__init__()
        norms = [block.float().norm(dim=1) for block in keys.split(_step(keys))]
        self.register_buffer('keys', keys, persistent=False)
        self.register_buffer('scale', 1 / (torch.cat(norms) + 1e-12), persistent=False)
        self.width = keys.shape[1]

    def search(self, queries: Tensor, count: int) -> Tensor:
        """The rows of largest cosine.

        Args:
            queries: Of unit length, float32 ``[R, C]``.
            count: How many for each.

        Returns:
            Their numbers, int64 ``[R, count]``, the nearest first; -1 where there are fewer.
        """
        scores: list[Tensor] = []
        numbers: list[Tensor] = []
        step, start = _step(self.keys, len(queries)), 0
        for keys, scale in zip(self.keys.split(step), self.scale.split(step)):
            products = (queries @ keys.float().T) * scale
            best = products.topk(min(count, len(keys)))
            scores.append(best.values)
            numbers.append(best.indices + start)
            start += len(keys)
        found = torch.cat(scores, 1)
        best = found.topk(min(count, found.shape[1]))
        rows = torch.cat(numbers, 1).gather(1, best.indices)
        return nn.functional.pad(rows, (0, count - rows.shape[1]), value=-1)


def _step(keys: Tensor, queries: int = 1) -> int:
    return max(_ENTRIES // max(keys.shape[1], queries), 1)
