"""Banks of this package, and those published by CorrCLIP v2's authors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..towers.tensor_files import read_tensor
from ..utils.errors import InputError, join_first
from ..utils.torch_types import total
from .cfg import MemoryCfg
from .files import INFO, read_info, read_rows
from .flat_index import FlatIndex
from .index_files import IVFPQIndex, read_index
from .ivf_index import IVFIndex, read_ivf_index

_BLOCK = 1 << 16  # rows converted to float32 at a time


@dataclass
class Bank:
    """Regions of unlabelled images.

    Attributes:
        values: Features of the regions by one or several CLIPs, ``[N, D]`` each.
        index: Index that finds regions by their keys.
        areas: Areas as shares of the images, float16 ``[N, 1]``; None if unknown.
        made_by: Settings that a bank of this package was built with, see
            :func:`.files.describe_models`.
    """

    values: list[Tensor]
    index: FlatIndex | IVFPQIndex | IVFIndex
    areas: Tensor | None = None
    made_by: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def centres(self) -> list[Tensor]:
        """Means of the features, float32 ``[D]`` each, weighted by area if areas are known."""
        weights = torch.ones(len(self.values[0]), 1) if self.areas is None else self.areas.float()
        return [_mean(values, weights) for values in self.values]


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    parts = zip(values.split(_BLOCK), weights.to(values.device).split(_BLOCK))
    return total(shares[:, 0] @ rows.float() for rows, shares in parts) / weights.sum()


def open_bank(cfg: MemoryCfg, dims: Sequence[int], family: str) -> Bank:
    """Read a bank.

    Args:
        cfg: The settings of ``model.memory``, which name the bank.
        dims: Widths of the features of the CLIPs.
        family: Family of the second tower, by the authors' name.

    Raises:
        InputError: If the bank does not exist, or does not fit the model.
    """
    folder = Path(cfg.bank).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"model.memory.bank='{cfg.bank}' is not a folder: build a bank by `sclip bank build`, "
            'or download one from the Hugging Face dataset dk258/CorrCLIPv2'
        )
    if not (folder / INFO).is_file():
        return _read_published(folder, cfg, dims, family)
    for key in ('name', 'index'):
        if getattr(cfg, key) is not None:
            raise InputError(
                f"model.memory.{key} is for banks of CorrCLIP's authors: set it to None"
            )
    info = read_info(folder)
    keys, first, areas, *second = read_rows(folder, info)
    values = [first, *second][: len(dims)]
    if len(values) < len(dims):
        raise InputError(
            f'{folder} has no features of a second CLIP: set model.memory.clip to None, or build a '
            'bank with --second-clip'
        )
    for each, dim in zip(values, dims):
        if each.shape[1] != dim:
            raise InputError(
                f"{folder} holds features of width {each.shape[1]}, the CLIP's have {dim}: name "
                'the bank of this CLIP'
            )
    index = read_ivf_index(folder, info.count) or FlatIndex(keys)
    return Bank(values, index, areas, info.made_by)


_ENCODERS = ('metaclip', 'dfnclip')  # first and second CLIP of the authors' banks


def _read_published(folder: Path, cfg: MemoryCfg, dims: Sequence[int], family: str) -> Bank:
    if cfg.name is None:
        names = sorted(path.name.rpartition('_metaclip_')[0] for path in _stores(folder))
        listed = f', e.g. {names[0]}' if names else ''
        raise InputError(
            f'{folder} is not a bank of this package (it has no bank.json): for a bank published '
            f"by CorrCLIP's authors set model.memory.name{listed}"
        )
    values = []
    for encoder, dim in zip(_ENCODERS, dims):
        size = 'l' if dim == 768 else 'b'
        path = _find(folder, 'clip_embeddings', f'{cfg.name}_{encoder}_{size}.pt')
        values.append(_read_store(path))
        if values[-1].shape[1] != dim:
            raise InputError(
                f"{path} holds features of width {values[-1].shape[1]}, the CLIP's have {dim}: "
                'name the bank of this CLIP'
            )
    count = len(values[0])
    if len(values[-1]) != count:
        raise InputError(
            f'{folder}: the files of the two CLIPs hold {count} and {len(values[-1])} regions: '
            'they do not belong to the same bank'
        )
    if cfg.index is None:
        path = _find(folder, 'vfm_embeddings', f'{cfg.name}_{family}.pt')
        keys = _read_store(path)
        if len(keys) != count:
            raise InputError(
                f'{path} holds {len(keys)} keys, the bank {count} regions: they do not belong '
                'together'
            )
        return Bank(values, FlatIndex(keys))
    path = Path(cfg.index).expanduser()
    if not path.is_file():
        raise InputError(f"model.memory.index='{cfg.index}' does not exist")
    index = read_index(path)
    numbers = index.numbers
    if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < count:
        raise InputError(
            f'{path} numbers regions up to {int(numbers.max())}, the bank holds {count}: they do '
            'not belong together'
        )
    return Bank(values, index)


def _stores(folder: Path) -> list[Path]:
    pattern = '*_metaclip_[bl].pt'
    return [*folder.glob(pattern), *folder.glob(f'clip_embeddings/{pattern}')]


def _find(folder: Path, below: str, name: str) -> Path:
    for path in (folder / below / name, folder / name):
        if path.is_file():
            return path
    there = sorted(path.name for path in [*folder.glob('*.*'), *folder.glob(f'{below}/*.*')])
    raise InputError(
        f'{folder} has neither {below}/{name} nor {name}, but '
        f'{join_first(there, limit=8) or "nothing"}: name another bank by model.memory.name, or '
        'download the file'
        + (', or name an index file by model.memory.index' if below.startswith('vfm') else '')
    )


def _read_store(path: Path) -> Tensor:
    store = read_tensor(path)
    if store.ndim != 2 or store.dtype != torch.float16 or not len(store):
        raise InputError(
            f'{path} holds {store.dtype} of shape {tuple(store.shape)}, not the rows of a bank '
            '(float16, one row per region)'
        )
    return store


def find_neighbours(
    bank: Bank, queries: Tensor, embeddings: Sequence[Tensor], count: int, centred: bool = False
) -> Tensor:
    """Compare the neighbours of regions with text queries.

    Args:
        bank: The bank.
        queries: Keys of the regions, of unit length, float32 ``[R, C]``.
        embeddings: Embeddings of the text queries by each CLIP of the bank, ``[Q, D]`` each.
        count: Number of neighbours.
        centred: Whether to subtract the bank's mean from the mean of the neighbours.

    Returns:
        Scores of the mean of the neighbours, cosines unless centred, averaged over the CLIPs,
        float32 ``[R, Q]``; NaN for regions without neighbours.
    """
    rows = bank.index.search(queries, count)
    known = rows >= 0
    place = rows.clamp(0).to(bank.values[0].device)
    scores = torch.zeros(len(queries), len(embeddings[0]), device=queries.device)
    for number, (values, texts) in enumerate(zip(bank.values, embeddings)):
        found = values[place].to(queries.device).float()
        mean = (found * known[..., None]).sum(1) / known.sum(1, keepdim=True)
        mean = torch.nn.functional.normalize(mean, dim=-1)
        if centred:
            mean = mean - bank.centres[number].to(mean.device)
        scores += mean @ texts.T
    return scores / len(embeddings)
