"""Embeddings of queries: computed by a text tower, saved in files, and cached."""

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.device import get_device
from mmengine.logging import print_log
from torch import Tensor

from ..datasets import QuerySet
from ..towers import TextEncoder
from ..utils.arrays import read_arrays
from ..utils.errors import InputError
from ..utils.file_kinds import kind_of_place
from ..utils.files import find_path, lock_file, open_atomically, sha256_of
from ..utils.progress import Progress
from ..utils.tokens import encode, special_tokens
from ..utils.words import counted

CACHE_DIR = 'SCLIP_CACHE_DIR'
_BATCH = 512  # prompts encoded at a time
_CACHE_VERSION = 2  # raise it when the same input gives other numbers


def tokenize(prompts: Sequence[str], context_length: int, cut: bool = False) -> list[list[int]]:
    """Split prompts into CLIP's tokens, between a start and an end token.

    Args:
        prompts: Texts.
        context_length: Largest number of tokens.
        cut: Whether to truncate longer prompts, keeping the end token.

    Raises:
        InputError: If a prompt has more than ``context_length`` tokens and ``cut`` is False.
    """
    start, end = special_tokens()
    tokens = [[start, *encode(prompt), end] for prompt in prompts]
    if cut:
        tokens = [
            ids if len(ids) <= context_length else [*ids[: context_length - 1], end]
            for ids in tokens
        ]
    for prompt, ids in zip(prompts, tokens):
        if len(ids) > context_length:
            raise InputError(
                f"the prompt '{prompt}' has {len(ids)} tokens, but the text tower takes at most "
                f'{context_length}: shorten the query'
            )
    return tokens


@torch.no_grad()
def encode_prompts(tower: TextEncoder, prompts: Sequence[str], cut: bool = False) -> Tensor:
    """Embed prompts in batches of similar length.

    Returns:
        Embeddings ``[len(prompts), D]`` on the tower's device, not normalised.
    """
    tokens = tokenize(prompts, tower.context_length, cut)
    order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
    device = next(tower.parameters()).device
    embeddings = torch.empty(len(tokens), tower.output_dim, device=device)
    progress = Progress(len(order), 'prompts')
    for start in range(0, len(order), _BATCH):
        chosen = order[start : start + _BATCH]
        batch = [torch.tensor(tokens[index]) for index in chosen]
        padded = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)
        embeddings[chosen] = tower(padded.to(device))
        progress.is_due(start + len(chosen))
    return embeddings


def encode_queries(
    tower: TextEncoder,
    queries: Sequence[str],
    templates: Sequence[str],
    normalize_prompts: bool = True,
    sentences: Mapping[str, Sequence[str]] | None = None,
) -> Tensor:
    """Embed each query as the normalised mean of its prompts' embeddings.

    Args:
        tower: Text tower.
        queries: Q texts.
        templates: Prompts with a ``{}`` for the query.
        normalize_prompts: Whether to normalise the prompts' embeddings before the mean.
        sentences: Query → additional prompts, each weighted like a template and truncated to
            the tower's context.

    Returns:
        L2-normalised embeddings ``[Q, D]``, float32, on the tower's device.
    """
    prompts = [template.replace('{}', query) for query in queries for template in templates]
    embeddings = encode_prompts(tower, prompts)
    if normalize_prompts:
        embeddings = F.normalize(embeddings, dim=-1)
    embeddings = embeddings.unflatten(0, (len(queries), -1))
    means = embeddings.mean(1)
    for number, query in enumerate(queries):
        if own := (sentences or {}).get(query):
            more = encode_prompts(tower, own, cut=True)
            more = F.normalize(more, dim=-1) if normalize_prompts else more
            means[number] = torch.cat([embeddings[number], more]).mean(0)
    return F.normalize(tower.finish(means), dim=-1)


def cached_embeddings(
    path: Path,
    load_tower: Callable[[], TextEncoder],
    queries: Sequence[str],
    templates: Sequence[str],
    normalize_prompts: bool = True,
    sentences: Mapping[str, Sequence[str]] | None = None,
    **options: Any,
) -> Tensor:
    """Embed queries, or read the embeddings from the cache, see :func:`cached_rows`.

    Encoding runs on an accelerator if there is one.

    Args:
        path: Checkpoint file of the text tower.
        load_tower: Loads the text tower.
        queries: Q texts.
        templates: Prompts with a ``{}`` for the query.
        normalize_prompts, sentences: See :func:`encode_queries`.
        options: Other values that the embeddings depend on, JSON-serialisable.

    Returns:
        L2-normalised embeddings ``[Q, D]``, float32 on the CPU.

    Raises:
        InputError: If the checkpoint embeds a query as zero, NaN or infinity.

    """

    def encode(heartbeat: Callable[[], None]) -> Tensor:
        count = counted(len(queries), 'query', 'queries')
        print_log(f'Encoding {count} × {counted(len(templates), "template")}', 'current')
        tower = load_tower().to(get_device())
        tower.register_forward_hook(lambda *_: heartbeat())
        embeddings = encode_queries(tower, queries, templates, normalize_prompts, sentences)
        embeddings = embeddings.cpu()
        _check_rows(embeddings, queries, path)
        return embeddings

    texts = list(queries), list(templates), normalize_prompts
    known = sentences or {}
    own = {query: list(known[query]) for query in queries if query in known}
    options = dict(options, sentences=own) if own else options

    def are_whole(rows: Tensor) -> bool:
        return rows.ndim == 2 and len(rows) == len(queries) and bool(_are_units(rows).all())

    return cached_rows(path, [*texts, options], encode, are_whole)


def cached_rows(
    path: Path,
    content: list,
    encode: Callable[[Callable[[], None]], Tensor],
    are_whole: Callable[[Tensor], bool],
) -> Tensor:
    """Compute an array, or read it from the cache.

    The cache is in ``$SCLIP_CACHE_DIR``, by default ``~/.cache/sclip_mmseg``; files are named by
    the SHA-256 of the checkpoint file and the content. One process computes an array while others
    wait for it, as long as it shows activity. Damaged files are replaced.

    Args:
        path: The checkpoint file.
        content: Other values that the array depends on, JSON-serialisable.
        encode: Computes the array, float32 on the CPU, and regularly calls its argument.
        are_whole: Whether a float32 array from the cache is undamaged.

    Warns:
        UserWarning: If the cache cannot be written, or another process blocks it.
    """
    content = [_CACHE_VERSION, sha256_of(path), *content]
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    root = Path(os.environ.get(CACHE_DIR) or '~/.cache/sclip_mmseg').expanduser()
    target = root / f'{key}.npy'
    embeddings = _read_cached(target, are_whole)
    if embeddings is not None:
        return embeddings
    try:
        lock = lock_file(target, f'set {CACHE_DIR} to a folder for cached embeddings')
    except InputError as error:
        warnings.warn(f'query embeddings are not cached: {error}', stacklevel=2)
        return encode(lambda: None)
    with lock as heartbeat:
        embeddings = _read_cached(target, are_whole)
        if embeddings is None:
            if os.path.lexists(target):
                message = f'{target} is damaged, its embeddings are computed again'
                print_log(message, 'current', logging.WARNING)
            embeddings = encode(heartbeat)
            try:
                with open_atomically(target) as file:
                    np.save(file, embeddings.numpy())
            except InputError as error:  # such as a full disk
                warnings.warn(f'query embeddings are not cached: {error}', stacklevel=2)
    return embeddings


def _read_cached(target: Path, are_whole: Callable[[Tensor], bool]) -> Tensor | None:
    """Read an array from the cache; None if it is missing or damaged."""
    if not target.is_file():
        return None
    try:
        array = np.load(target, allow_pickle=False)
    except Exception:  # a damaged file raises whatever its header leads NumPy to
        return None
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        return None
    rows = torch.from_numpy(array)
    return rows if are_whole(rows) else None


def _are_units(embeddings: Tensor) -> Tensor:
    """Whether each row of normalised embeddings ``[Q, D]`` has length 1, not 0 or NaN."""
    return (embeddings.norm(dim=-1) - 1).abs() < 1e-3


def _check_rows(embeddings: Tensor, queries: Sequence[str], path: str | Path) -> None:
    for query, good in zip(queries, _are_units(embeddings).tolist()):
        if not good:
            raise InputError(
                f"{path} embeds the query '{query}' as zero, NaN or infinity: use an undamaged file"
            )


def save_embeddings(path: Path, query_set: QuerySet, embeddings: Tensor) -> None:
    """Write ``queries``, ``class_ids`` and ``embeddings`` to an ``.npz`` file.

    Raises:
        InputError: If the file cannot be written.
    """
    with open_atomically(Path(path)) as file:
        np.savez(
            file,
            queries=np.array(query_set.queries),
            class_ids=np.array(query_set.class_ids, dtype=np.int64),
            embeddings=embeddings.cpu().numpy(),
        )


def read_embeddings(path: str | Path) -> tuple[QuerySet, Tensor]:
    """Read what :func:`save_embeddings` wrote.

    Returns:
        The queries and their L2-normalised embeddings ``[Q, D]``, float32.

    Raises:
        InputError: If the file is missing or unreadable, an array is missing or does not fit, or
            an embedding is zero or not finite.
    """
    found = find_path(path)
    if found is None:
        raise InputError(f"text_head.embeddings='{path}' does not exist")
    if place := kind_of_place(found):
        raise InputError(f"text_head.embeddings='{path}' is {place}, not an .npz file")
    arrays = read_arrays(found, ('queries', 'class_ids', 'embeddings'), str(path))
    if arrays['embeddings'].dtype.kind != 'f' or arrays['embeddings'].ndim != 2:
        raise InputError(f"{path}: 'embeddings' must be floating point [Q, D]")
    for name, kinds, words in (('queries', 'U', 'texts'), ('class_ids', 'iu', 'integers')):
        if arrays[name].ndim != 1 or arrays[name].dtype.kind not in kinds:
            raise InputError(f"{path}: '{name}' must be {words} [Q]")
    with np.errstate(over='ignore'):
        embeddings = torch.from_numpy(arrays['embeddings'].astype(np.float32))
    queries = [str(query) for query in arrays['queries']]
    query_set = QuerySet.from_ids(queries, arrays['class_ids'].tolist(), str(path))
    if len(embeddings) != len(queries):
        raise InputError(f"{path}: 'embeddings' must have {len(queries)} rows, one per query")
    embeddings = F.normalize(embeddings, dim=-1)
    _check_rows(embeddings, queries, path)
    return query_set, embeddings
