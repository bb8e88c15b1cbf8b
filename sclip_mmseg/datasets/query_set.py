"""Which text queries stand for which class."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple, Union

from mmseg.registry import DATASETS

from ..utils.errors import InputError
from ..utils.files import find_file
from .palette import voc_palette
from .shipped_queries import QUERY_LISTS, program_of

Queries = Union[str, Sequence[Union[str, Sequence[str]]]]


@dataclass(frozen=True)
class QuerySet:
    """Text queries and the classes that they stand for.

    Attributes:
        queries: Q texts.
        class_ids: The class of each query, Q integers that cover 0 to K - 1.
        class_names: K names to print and draw.
        palette: K RGB triples.
    """

    queries: Tuple[str, ...]
    class_ids: Tuple[int, ...]
    class_names: Tuple[str, ...]
    palette: List[List[int]]

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def by_class(self) -> List[List[str]]:
        """The queries of each class, K lists."""
        groups: List[List[str]] = [[] for _ in self.class_names]
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
        names = tuple(queries[ids.index(c)] for c in range(max(ids) + 1))
        return cls(tuple(queries), ids, names, voc_palette(len(names)))


def load_queries(queries: Queries) -> QuerySet:
    """Read a query list.

    Args:
        queries: The name of a shipped list (:data:`QUERY_LISTS`); or the path of a text file with a
            class per line, synonyms separated by commas, empty lines left out; or a list with an
            item per class, each a list of synonyms or such a line.

    Returns:
        The queries in the order given. Class names and colours of a shipped list are its dataset's.

    Raises:
        InputError: If the list is unknown, empty, or has a class without a query.

    Warns:
        UserWarning: If a query of a list of your own stands for two classes, of which only the
            first can win.
    """
    if isinstance(queries, str) and queries in QUERY_LISTS:
        return _load_shipped(queries)
    if isinstance(queries, str):
        path = find_file(queries)
        if path is None:
            raise InputError(
                f"queries='{queries}' is neither a file nor one of {', '.join(QUERY_LISTS)}; "
                "classes themselves are a list, as in ['cat, kitten', 'dog']"
            )
        source, items = str(path), _read_lines(path)
    else:
        source, items = 'queries', queries
    classes = _parse(items, source)
    texts, ids = _flatten(classes)
    _warn_of_duplicates(classes, source)
    return QuerySet.from_ids(texts, ids, source)


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


def _read_lines(path: Path) -> List[str]:
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f'{path} is not UTF-8 text: {error}') from error
    return [line for line in lines if line.strip()]


def _parse(items: Optional[Sequence], source: str) -> List[List[str]]:
    if not items:
        raise InputError(f'{source}: no class at all; give one class per line or item')
    classes = []
    for number, item in enumerate(items, 1):
        if not isinstance(item, (str, list, tuple)):
            raise InputError(f'{source}: class {number} must be text or a list, not {item!r}')
        synonyms = item.split(',') if isinstance(item, str) else item
        synonyms = [str(text).strip() for text in synonyms]
        if not synonyms or not all(synonyms):
            raise InputError(
                f'{source}: class {number} has an empty query ({item!r}); remove the line or '
                'comma, or write a name'
            )
        classes.append(synonyms)
    return classes


def _flatten(classes: List[List[str]]) -> Tuple[Tuple[str, ...], Tuple[int, ...]]:
    pairs = [(text, class_id) for class_id, texts in enumerate(classes) for text in texts]
    texts, ids = zip(*pairs)
    return texts, ids


def _warn_of_duplicates(classes: List[List[str]], source: str) -> None:
    owner: Dict[str, int] = {}
    for class_id, texts in enumerate(classes):
        for text in texts:
            if owner.setdefault(text, class_id) != class_id:
                warnings.warn(
                    f"{source}: query '{text}' stands for classes {owner[text]} and {class_id}; "
                    'the two always tie, and the first one wins',
                    stacklevel=3,
                )
