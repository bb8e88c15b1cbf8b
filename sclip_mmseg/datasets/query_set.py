"""Which text queries stand for which class."""

import html
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mmseg.registry import DATASETS

from ..utils.errors import InputError
from ..utils.files import find_file
from ..utils.tokens import encode, special_tokens
from .palette import voc_palette
from .shipped_queries import QUERY_LISTS, program_of

Queries = str | Sequence[str | Sequence[str]]

_MOST = 65535  # queries, as label maps have 16 bits at most
_LONGEST = 1000  # characters of a query, of whose tokens CLIP reads 75
_LARGEST = 1 << 24  # bytes of a file
# Semicolons and commas of other scripts and widths.
_SEPARATORS = str.maketrans('；﹔︔؛，﹐︐،、', ';;;;,,,,,')
_SEMICOLON = re.compile(r'(&(?:amp;)*(?:#[0-9]+|#x[0-9a-f]+|[0-9a-z]+);|;)', re.IGNORECASE)


@dataclass(frozen=True)
class QuerySet:
    """Text queries and the classes that they stand for.

    Attributes:
        queries: Q texts.
        class_ids: The class of each query, Q integers that cover 0 to K - 1.
        class_names: K names to print and draw.
        palette: K RGB triples.
    """

    queries: tuple[str, ...]
    class_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    palette: list[list[int]]

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def by_class(self) -> list[list[str]]:
        """The queries of each class, K lists."""
        groups: list[list[str]] = [[] for _ in self.class_names]
        for query, class_id in zip(self.queries, self.class_ids):
            groups[class_id].append(query)
        return groups

    @classmethod
    def from_ids(cls, queries: Sequence[str], class_ids: Sequence[int], source: str) -> 'QuerySet':
        """Check the ids of given queries, and name each class after its first query.

        Raises:
            InputError: If the ids do not cover 0 to K - 1 or there is not one per query.
        """
        ids = tuple(int(i) for i in class_ids)
        if not ids or len(ids) != len(queries):
            raise InputError(f'{source}: {len(queries)} queries but {len(ids)} class ids')
        if set(ids) != set(range(max(ids) + 1)):
            raise InputError(f'{source}: class ids must cover 0 to {max(ids)} without a gap')
        first = dict(zip(reversed(ids), reversed(queries)))
        names = tuple(first[class_id] for class_id in range(len(first)))
        return cls(tuple(queries), ids, names, voc_palette(len(names)))


def load_queries(queries: Queries, warn: bool = True) -> QuerySet:
    """Read a query list.

    Args:
        queries: The name of a shipped list (:data:`QUERY_LISTS`); or the path of a text file with a
            class per line (or several, separated by semicolons), synonyms separated by commas,
            empty lines left out; or a list with an item per class, each a list of synonyms or such
            a line.
        warn: Whether to warn.

    Returns:
        The queries in the order given. Class names and colours of a shipped list are its dataset's.

    Raises:
        InputError: If the list is unknown, empty or too long, has a class without a query, or a
            query that is no text to CLIP.

    Warns:
        UserWarning: If a query of a list of your own stands for two classes, of which only the
            first can win. CLIP's tokenizer decides: it knows no case, for example.
    """
    if isinstance(queries, str) and queries in QUERY_LISTS:
        return _load_shipped(queries)
    if isinstance(queries, str):
        path = find_file(queries)
        if path is None:
            raise InputError(
                f"queries='{_short(queries)}' is neither a file nor one of "
                f"{', '.join(QUERY_LISTS)}; classes themselves are a list, as in ['cat, kitten', "
                "'dog']"
            )
        source, items = str(path), _read_lines(path)
    else:
        source, items = 'queries', queries
    classes = _parse(items, source)
    texts, ids = _flatten(classes)
    if len(texts) > _MOST:
        raise InputError(f'{source} has {len(texts)} queries: {_MOST} are taken at most')
    for text in texts:
        _check_query(text, source)
    query_set = QuerySet.from_ids(texts, ids, source)
    if warn:
        _warn_of_ties(query_set, source)
    return query_set


def split_lines(text: str) -> list[str]:
    """The classes of a text: separated by line breaks and semicolons, empty lines left out."""
    return [name for line in text.splitlines() if line.strip() for name in split_classes(line)]


def split_classes(line: str) -> list[str]:
    """The classes of a line: separated by semicolons; after the last one there may be another.

    The semicolon of an HTML entity, such as ``&amp;``, is a part of it.
    """
    names = _split(line)
    while len(names) > 1 and not names[-1].strip():
        names.pop()
    return names


def _split(line: str) -> list[str]:
    names = ['']
    for part in _SEMICOLON.split(line.translate(_SEPARATORS)):
        if part.endswith(';') and html.unescape(html.unescape(part)).endswith(';'):
            names[-1] += part[:-1]
            names.append('')
        else:
            names[-1] += part
    return names


def split_synonyms(text: str) -> list[str]:
    """The synonyms of a class: separated by commas."""
    return text.translate(_SEPARATORS).split(',')


@lru_cache(maxsize=1 << 16)
def tokens_of(query: str) -> tuple[int, ...]:
    """What CLIP reads of a query: two of the same tokens are one and the same to it."""
    return tuple(encode(query))


def _load_shipped(name: str) -> QuerySet:
    meta = DATASETS.get(QUERY_LISTS[name]).METAINFO
    names, palette = tuple(meta['classes']), [list(colour) for colour in meta['palette']]
    if name.startswith('plain_'):
        first = names.index('background') + 1 if 'background' in names else 0
        names, palette = names[first:], palette[first:]
        return QuerySet(names, tuple(range(len(names))), names, palette)
    program, base = program_of(name)
    path = Path(__file__).parent / 'queries' / f'{base}.txt'
    classes = _parse(_read_lines(path), str(path))
    if program is not None:
        classes = [program.edit(base, *pair) for pair in zip(names, classes)]
    return QuerySet(*_flatten(classes), names, palette)


def _read_lines(path: Path) -> list[str]:
    if path.stat().st_size > _LARGEST:
        raise InputError(f'{path} is no list of classes: it has more than {_LARGEST >> 20} MiB')
    try:
        return split_lines(path.read_text(encoding='utf-8-sig'))
    except UnicodeDecodeError as error:
        raise InputError(f'{path} is not UTF-8 text: {error}') from error


def _parse(items: Sequence | None, source: str) -> list[list[str]]:
    if not items:
        raise InputError(f'{source}: no class at all; give one class per line or item')
    classes = []
    for number, item in enumerate(items, 1):
        if not isinstance(item, (str, list, tuple)):
            raise InputError(f'{source}: class {number} must be text or a list, not {item!r}')
        synonyms = split_synonyms(item) if isinstance(item, str) else item
        synonyms = [str(text).strip() for text in synonyms]
        if not synonyms or not all(synonyms):
            raise InputError(
                f'{source}: class {number} has an empty query ({_short(str(item))!r}); remove the '
                'line, comma or semicolon, or write a name'
            )
        for text in synonyms:
            if len(_split(text)) > 1 or len(text.splitlines()) > 1:
                raise InputError(
                    f'{source}: class {number} has the query {_short(text)!r}, but semicolons and '
                    'line breaks separate classes: give an item for each, or commas for synonyms'
                )
        classes.append(synonyms)
    return classes


def _flatten(classes: list[list[str]]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    pairs = [(text, class_id) for class_id, texts in enumerate(classes) for text in texts]
    texts, ids = zip(*pairs)
    return texts, ids


def _check_query(text: str, source: str) -> None:
    """Check that there is something in a query for CLIP to read.

    Raises:
        InputError: If there is not, or too much.
    """
    if len(text) > _LONGEST:
        raise InputError(
            f'{source}: a query of {len(text)} characters ({_short(text)!r}) is too long: '
            'separate classes by semicolons or line breaks, synonyms by commas'
        )
    name = f'{source}: the query {_short(text)!r}'
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f'{name} is not Unicode text: set LANG=C.UTF-8') from error
    tokens = tokens_of(text)
    if not tokens:
        raise InputError(f"{name} is empty to CLIP's tokenizer: write a name")
    if set(tokens) & set(special_tokens()):
        raise InputError(
            f"{name} holds CLIP's start or end token, behind which nothing is read: leave it out"
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


def _short(text: str) -> str:
    return text if len(text) <= 60 else f'{text[:59]}…'
