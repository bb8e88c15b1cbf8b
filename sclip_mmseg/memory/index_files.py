"""Index files of faiss, read and searched without faiss: ``IDMap2`` of ``IVFPQ`` or ``Flat``."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..utils.errors import InputError
from .flat_index import FlatIndex

INNER_PRODUCT, L2 = 0, 1  # faiss' metrics
_PROBES = 256  # lists that CorrCLIP v2 searches


class IDMapIndex(FlatIndex):
    """A flat index whose keys have explicit ids (faiss' ``IDMap2``).

    Args:
        keys: Keys, float32 ``[n, C]``, compared by inner product.
        numbers: Numbers of the keys, int64 ``[n]``.
    """

    numbers: Tensor

    def __init__(self, keys: Tensor, numbers: Tensor):
        super().__init__(keys, unit=True)
        self.register_buffer('numbers', numbers, persistent=False)

    def search(self, queries: Tensor, count: int) -> Tensor:
        """See :meth:`.flat_index.FlatIndex.search`."""
        rows = super().search(queries, count)
        return torch.where(rows < 0, rows, self.numbers[rows])


@dataclass
class _Codes:
    """Contents of an IVFPQ, all numbers float32.

    Attributes:
        centroids: Centroids of the lists, ``[lists, d]``.
        codebooks: Codebooks of the parts of a vector, ``[M, 256, d / M]``.
        codes: Codes of the vectors, uint8 ``[n, M]``, list by list.
        numbers: Numbers of the vectors, int64 ``[n]``, in the same order.
        starts: Where each list begins and the last ends, int64 ``[lists + 1]``.
    """

    centroids: np.ndarray
    codebooks: np.ndarray
    codes: np.ndarray
    numbers: np.ndarray
    starts: np.ndarray


class IVFPQIndex(nn.Module):
    """An IVFPQ index, searched on the CPU.

    The lists whose centroids have the largest inner products with the query are searched, and
    their vectors are ranked by squared distance.
    """

    numbers: Tensor

    def __init__(self, codes: _Codes):
        super().__init__()
        self.codes = codes
        self.width = codes.centroids.shape[1]
        self.register_buffer('numbers', torch.from_numpy(codes.numbers), persistent=False)

    def search(self, queries: Tensor, count: int) -> Tensor:
        """See :meth:`.flat_index.FlatIndex.search`."""
        found = np.full((len(queries), count), -1, np.int64)
        for row, query in zip(found, queries.float().cpu().numpy()):
            distances, numbers = self._look_up(query)
            best = distances.argsort(kind='stable')[:count]
            row[: len(best)] = numbers[best]
        return torch.from_numpy(found).to(queries.device)

    def _look_up(self, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances of the vectors in the probed lists, and their numbers."""
        held, books = self.codes, self.codes.codebooks
        near = held.centroids @ query
        probed = (-near).argsort(kind='stable')[:_PROBES]
        parts = (query - held.centroids[probed]).reshape(len(probed), len(books), -1)
        # ‖part - centroid‖² for each list, part and code
        products = np.einsum('lms,mjs->lmj', parts, books, optimize=True)
        tables = (parts**2).sum(-1)[..., None] + (books**2).sum(-1) - 2 * products
        pieces = [np.arange(held.starts[i], held.starts[i + 1]) for i in probed]
        owner = np.repeat(np.arange(len(probed)), [len(piece) for piece in pieces])
        rows = np.concatenate(pieces)
        codes = held.codes[rows]
        distances = tables[owner[:, None], np.arange(len(books)), codes].sum(1)
        return distances, held.numbers[rows]


def read_index(path: Path) -> IDMapIndex | IVFPQIndex:
    """Read an index file.

    Raises:
        InputError: If the file is of another kind, or damaged.
    """
    try:
        return _read_numbered(_Bytes(path))
    except OSError as error:
        raise InputError(f'model.memory.index={path} cannot be read ({error.strerror})') from error
    except (struct.error, ValueError, IndexError, MemoryError) as error:
        raise InputError(
            f'model.memory.index={path} is not a known index (IDMap2 of IVFPQ with the L2 '
            f'metric, or of Flat), or is damaged ({error}): give another one, or None to search '
            'the keys exactly'
        ) from error


class _Bytes:
    """Reads a file sequentially."""

    def __init__(self, path: Path):
        self.data = np.memmap(path, np.uint8, 'r')
        self.place = 0

    def take(self, count: int, dtype: Any = np.uint8) -> np.ndarray:
        end = self.place + count * np.dtype(dtype).itemsize
        if count < 0 or end > len(self.data):
            raise ValueError('it ends too early')
        piece, self.place = self.data[self.place : end], end
        return np.frombuffer(piece.tobytes(), np.dtype(dtype).newbyteorder('<'))

    def number(self, kind: str) -> int:
        return struct.unpack(f'<{kind}', self.take(struct.calcsize(f'<{kind}')).tobytes())[0]

    def vector(self, dtype: Any) -> np.ndarray:
        return self.take(self.number('Q'), dtype)

    def expect(self, word: bytes) -> None:
        found = self.take(4).tobytes()
        if found != word:
            raise ValueError(f'{found!r} where {word!r} should be')

    def header(self, metric: int) -> tuple[int, int]:
        """Width and number of vectors."""
        width, count = self.number('i'), self.number('q')
        self.take(16)
        if not self.number('B') or self.number('i') != metric or width < 1:
            raise ValueError('it is not trained or of another metric')
        return width, count


def _read_numbered(file: _Bytes) -> IDMapIndex | IVFPQIndex:
    file.expect(b'IxM2')
    file.take(8 + 4)  # width and count are repeated in the inner index
    file.take(16 + 1 + 4)
    kind = file.take(4).tobytes()
    if kind == b'IxFI':
        vectors, inner = _read_flat(file), None
    elif kind == b'IwPQ':
        vectors, inner = np.empty(0), _read_codes(file)
    else:
        raise ValueError(f'it holds {kind!r}')
    numbers = file.vector(np.int64).astype(np.int64)
    if inner is None:
        if len(numbers) != len(vectors):
            raise ValueError('numbers and vectors differ')
        return IDMapIndex(torch.from_numpy(vectors), torch.from_numpy(numbers))
    inner.numbers = numbers[inner.numbers]
    return IVFPQIndex(inner)


def _read_flat(file: _Bytes) -> np.ndarray:
    width, count = file.header(INNER_PRODUCT)
    return file.vector(np.float32).astype(np.float32).reshape(count, width)


def _read_codes(file: _Bytes) -> _Codes:
    width, total = file.header(L2)
    lists = file.number('Q')
    file.take(8)  # nprobe
    file.expect(b'IxFI')
    centroids = _read_flat(file)
    file.take(1)
    file.vector(np.int64)
    by_residual, code_size = file.number('B'), file.number('Q')
    d, parts, bits = (file.number('Q') for _ in range(3))
    if not by_residual or bits != 8 or parts != code_size or d != width or width % parts:
        raise ValueError('its codes are of another kind')
    books = file.vector(np.float32).astype(np.float32).reshape(parts, 256, width // parts)
    file.expect(b'ilar')
    if file.number('Q') != lists or file.number('Q') != code_size or len(centroids) != lists:
        raise ValueError('its lists differ')
    sizes = _read_sizes(file, lists)
    if sizes.sum() != total or (sizes < 0).any():
        raise ValueError('its lists do not hold all vectors')
    codes, places = [], []
    for size in sizes.tolist():
        codes.append(file.take(size * parts).reshape(size, parts))
        places.append(file.take(size, np.int64))
    starts = np.concatenate([[0], sizes.cumsum()])
    return _Codes(centroids, books, np.concatenate(codes), np.concatenate(places), starts)


def _read_sizes(file: _Bytes, lists: int) -> np.ndarray:
    kind = file.take(4).tobytes()
    if kind == b'full':
        sizes = file.vector(np.int64).astype(np.int64)
        if len(sizes) != lists:
            raise ValueError('its lists differ')
        return sizes
    if kind != b'sprs':
        raise ValueError(f'its lists are {kind!r}')
    sizes = np.zeros(lists, np.int64)
    pairs = file.vector(np.int64).reshape(-1, 2)
    sizes[pairs[:, 0]] = pairs[:, 1]
    return sizes
