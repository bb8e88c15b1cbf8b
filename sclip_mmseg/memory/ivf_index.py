"""Approximate search with faiss (extra ``bank``) in banks too large for an exact one."""

import logging
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..utils.errors import InputError

FILE = 'keys.faiss'
LIMIT = 400_000  # maximum number of rows for an exact search
_PROBES = 64  # lists that are searched, of about √N
_SAMPLES = 64  # training keys per list
_BLOCK = 1 << 16  # rows at a time
_ADVICE = 'an exact search of so many regions is slow: pip install "sclip_mmseg[bank]", and run '


class IVFIndex(nn.Module):
    """An inverted file index: keys in lists of similar ones, of which the nearest are searched.

    Args:
        path: Index file of faiss.

    Raises:
        ImportError: If faiss is not installed.
        InputError: If the file is damaged.
    """

    def __init__(self, path: Path):
        super().__init__()
        import faiss

        try:
            self.index: Any = faiss.read_index(str(path))
        except RuntimeError as error:
            raise InputError(f'{path} is damaged: remove it') from error
        self.width, self.count = self.index.d, self.index.ntotal

    def search(self, queries: Tensor, count: int) -> Tensor:
        """See :meth:`.flat_index.FlatIndex.search`; the search is approximate."""
        _, rows = self.index.search(queries.float().cpu().numpy(), count)
        return torch.from_numpy(rows).to(queries.device)


def read_ivf_index(folder: Path, count: int) -> IVFIndex | None:
    """Read the index of a bank with ``count`` rows; None if its keys are searched exactly."""
    if count <= LIMIT:
        return None
    try:
        found = IVFIndex(folder / FILE) if (folder / FILE).is_file() else None
        if found is not None and found.count == count:
            return found
        advice = f'{_ADVICE}`sclip bank build` again'
    except ImportError:
        advice = f'{_ADVICE}again'
    print_log(f'{folder}: {advice}', 'current', logging.WARNING)
    return None


def write_ivf_index(folder: Path, keys: np.ndarray) -> None:
    """Write the index of keys, float16 ``[N, C]``, if there are more than ``LIMIT``."""
    if len(keys) <= LIMIT:
        return
    try:
        import faiss
    except ImportError:
        print_log(f'{folder}: {_ADVICE}again', 'current', logging.WARNING)
        return
    lists = math.isqrt(len(keys))
    kind = f'IVF{lists},SQfp16'
    index: Any = faiss.index_factory(keys.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = _PROBES
    index.train(_unit(keys[:: max(len(keys) // (lists * _SAMPLES), 1)]))
    for start in range(0, len(keys), _BLOCK):
        index.add(_unit(keys[start : start + _BLOCK]))
    temporary = folder / f'{FILE}.tmp'
    faiss.write_index(index, str(temporary))
    os.replace(temporary, folder / FILE)


def _unit(keys: np.ndarray) -> np.ndarray:
    rows = keys.astype(np.float32)
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-12)
