"""Text queries of classes."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mmseg.registry import DATASETS

from ..old_names import keep_old_names
from ..utils.errors import InputError, join_first, nearest, shorten
from ..utils.files import find_file
from ..utils.tokens import encode, special_tokens
from .class_list import (
    ClassList,
    is_separated,
    parse_class_list,
    read_class_file,
    read_class_list,
)
from .palette import voc_palette
from .shipped_queries import QUERY_LISTS, program_of

keep_old_names(__name__, split_synonyms='datasets.class_list.split_synonyms')

Queries = str | os.PathLike | ClassList | Sequence[str | Sequence[str]]

_HERE = Path(__file__).parent
_MOST = 65535  # queries, since label maps have at most 16 bits
_LONGEST = 1000  # characters of a query; CLIP reads 75 tokens


@dataclass(frozen=True)
class QuerySet:
    """Text queries and their classes.

    Attributes:
        queries: Q texts.
        class_ids: Class of each query, Q integers that cover 0 to K - 1.
        class_names: K names to print and draw.
        palette: K RGB triples.
        label_ids: Ids of the classes in label files, K integers; None for 0 to K - 1.
    """

    queries: tuple[str, ...]
    class_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    palette: list[list[int]]
    label_ids: tuple[int, ...] | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes, K."""
        return len(self.class_names)

    @property
    def by_class(self) -> list[list[str]]:
        """The queries of each class, K lists."""
        groups: list[list[str]] = [[] for _ in self.class_names]
        for query, class_id in zip(self.queries, self.class_ids):
            groups[class_id].append(query)
        return groups

    @classmethod
    def from_ids(
        cls,
        queries: Sequence[str],
        class_ids: Sequence[int],
        source: str,
        label_ids: tuple[int, ...] | None = None,
    ) -> 'QuerySet':
        """Make a query set, with each class named after its first query.

        Args:
            queries: Q texts.
            class_ids: Class of each query.
            source: Name of the list in error messages.
            label_ids: Ids of the classes in label files.

        Raises:
            InputError: If there is not one id per query, or ids do not cover 0 to K - 1.
        """
        ids = tuple(int(i) for i in class_ids)
        if not ids or len(ids) != len(queries):
            raise InputError(f'{source}: {len(queries)} queries but {len(ids)} class ids')
        if set(ids) != set(range(max(ids) + 1)):
            raise InputError(f'{source}: class ids must cover 0 to {max(ids)} without a gap')
        first = dict(zip(reversed(ids), reversed(queries)))
        names = tuple(first[class_id] for class_id in range(len(first)))
        return cls(tuple(queries), ids, names, voc_palette(len(names)), label_ids)


def load_queries(queries: Queries, warn: bool = True) -> QuerySet:
    """Read a query list.

    Args:
        queries: The name of a shipped list (:data:`QUERY_LISTS`), the path of a text file, a text
            in the syntax of :mod:`.class_list`, or a list with an item per class, each a list of
            synonyms or a text of them.
        warn: Whether to warn.

    Returns:
        The queries in the given order. A shipped list has its dataset's class names and colours.

    Raises:
        InputError: If the list is unknown, empty or too long, has a class without queries, or a
            query that CLIP cannot read.

    Warns:
        UserWarning: If two classes have the same query, compared by the tokens of CLIP's tokenizer,
            which ignores case, for example. Only the first of these classes can win.
    """
    if isinstance(queries, str) and queries in QUERY_LISTS:
        return _load_shipped(queries)
    source, classes = _read(queries)
    texts, ids = _flatten(classes.synonyms)
    if len(texts) > _MOST:
        raise InputError(f'{source} has {len(texts)} queries: {_MOST} are taken at most')
    for text in texts:
        _check_query(text, source)
    query_set = QuerySet.from_ids(texts, ids, source, classes.ids)
    if warn:
        _warn_of_ties(query_set, source)
    return query_set


def parse_classes(text: str) -> Queries:
    """Parse classes from a text, which may not name a file.

    Args:
        text: Classes in the syntax of :mod:`.class_list`, or the name of a shipped list.

    Returns:
        An argument for :func:`load_queries`.

    Raises:
        InputError: If there is no class, or the syntax is wrong.
    """
    text = text.strip()
    if not text:
        raise InputError('there is no class: write some, separated by semicolons, as in: cat; dog')
    return text if text in QUERY_LISTS else parse_class_list(text)


def _read(queries: Queries) -> tuple[str, ClassList]:
    """Read a list that is not shipped; returns its name in error messages, and its classes."""
    if isinstance(queries, ClassList):
        return 'queries', queries
    if not isinstance(queries, (str, os.PathLike)):
        return 'queries', read_class_list(queries)
    name = os.fspath(queries)
    if (path := find_file(name)) is not None:
        return str(path), read_class_file(path)
    if isinstance(queries, str) and is_separated(queries):
        return 'classes', parse_class_list(queries)
    if os.sep in name or name.lower().endswith(('.txt', '.names', '.csv')):
        raise InputError(f'file of classes {shorten(name)} does not exist')
    hint = nearest(name, QUERY_LISTS, 0.75)
    if isinstance(queries, str) and name.strip() and not hint:
        return 'classes', parse_class_list(name)
    known = join_first([*QUERY_LISTS], 8)
    raise InputError(
        f"queries='{shorten(name)}' is neither a file nor one of {known}{hint}; "
        "classes themselves are separated by semicolons, as in 'cat, kitten; dog'"
    )


@lru_cache(maxsize=1 << 16)
def tokens_of(query: str) -> tuple[int, ...]:
    """CLIP's tokens of a query; queries with the same tokens are the same for CLIP."""
    return tuple(encode(query))


def _load_shipped(name: str) -> QuerySet:
    if (path := _HERE / f'names/{name.removeprefix("plain_")}.txt').is_file():
        # Whole lines, as in the original programs: a comma is part of the name.
        names = tuple(path.read_text(encoding='utf-8').splitlines())
        return QuerySet(names, tuple(range(len(names))), names, voc_palette(len(names)))
    meta = DATASETS.get(QUERY_LISTS[name]).METAINFO
    names, palette = tuple(meta['classes']), [list(colour) for colour in meta['palette']]
    if name.startswith(('plain_', 'things_')):
        first = int(name.startswith('things_'))
        names, palette = names[first:], palette[first:]
        return QuerySet(names, tuple(range(len(names))), names, palette)
    program, base = program_of(name)
    path = _HERE / f'queries/{base}.txt'
    classes = [list(words) for words in read_class_file(path).synonyms]
    if program is not None:
        classes = [program.edit(base, *pair) for pair in zip(names, classes)]
    return QuerySet(*_flatten(classes), names, palette)


def _flatten(classes: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    pairs = [(text, class_id) for class_id, texts in enumerate(classes) for text in texts]
    texts, ids = zip(*pairs)
    return texts, ids


def _check_query(text: str, source: str) -> None:
    """Check that CLIP can read a query."""
    if len(text) > _LONGEST:
        raise InputError(
            f'{source}: a query of {len(text)} characters ({shorten(text)!r}) is too long: '
            'separate classes by semicolons or line breaks, synonyms by commas'
        )
    name = f'{source}: the query {shorten(text)!r}'
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f'{name} is not Unicode text: set LANG=C.UTF-8') from error
    tokens = tokens_of(text)
    if not tokens:
        raise InputError(f"{name} is empty to CLIP's tokenizer: write a name")
    if set(tokens) & set(special_tokens()):
        raise InputError(
            f"{name} contains CLIP's start or end token, after which nothing is read: remove it"
        )


def _warn_of_ties(query_set: QuerySet, source: str) -> None:
    owner: dict[tuple[int, ...], tuple[str, int]] = {}
    for text, class_id in zip(query_set.queries, query_set.class_ids):
        other, first = owner.setdefault(tokens_of(text), (text, class_id))
        if first != class_id:
            names = [query_set.class_names[index] for index in (first, class_id)]
            same = '' if text == other else f", which is '{other}' to CLIP's tokenizer,"
            warnings.warn(
                f"{source}: query '{text}'{same} stands for classes {first} ('{names[0]}') and "
                f"{class_id} ('{names[1]}'); the two always tie, and the first one wins",
                stacklevel=3,
            )
