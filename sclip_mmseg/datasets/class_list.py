"""The one syntax of class lists, in files, on the command line, on the web page and in Python.

A class per line, or several separated by semicolons; commas between the synonyms of a class; ``#``
begins a comment; the id that label files have for a class may stand in front, as in ``7: road``.
"""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..utils.errors import InputError, shorten

#: The largest id, as label files have 16 bits at most.
LARGEST_ID = 65535
_LARGEST_FILE = 1 << 24  # bytes
_SYNTAX = 'write a class per line or separated by semicolons, synonyms by commas: cat, kitten; dog'
# Semicolons and commas of other scripts and widths.
_SEPARATORS = str.maketrans('；﹔︔؛，﹐︐،、', ';;;;,,,,,')
_SEMICOLON = re.compile(r'(&(?:amp;)*(?:#[0-9]+|#x[0-9a-f]+|[0-9a-z]+);|;)', re.IGNORECASE)
_COMMENT = re.compile(r'(^|\s)#.*$')
_ID = re.compile(r'\s*(\d+)\s*[:：]\s*(.*)', re.DOTALL)
_QUOTES = '"\'“”‘’`'
# Whole texts in another syntax.
_BRACKETS = re.compile(r'[\[{(].*[\]})]', re.DOTALL)
# Classes in another syntax, and what to say of each; `{0}` is what was written.
_OTHERS = (
    (
        re.compile(r'[^:]*\S\s*[:：]\s*\d+\s*,\s*\d+\s*,\s*\d+\s*(:.*)?'),
        '{0!r} is a line of a table of colours: name such a table by --colors, and write the name '
        'of the class alone here',
    ),
    (
        re.compile(r'(?P<name>.*\S)\s*(?:[:：]|=>?|->)\s*(?P<id>\d+)'),
        'in {0!r} the id stands behind: write {id}: {name}',
    ),
    (
        re.compile(r'(?P<id>\d+)\s*(?:[.)](?!\d)|\t|=>?|->|\s-\s)\s*(?P<name>\S.*)'),
        'an id stands before a colon: for {0!r} write {id}: {name}',
    ),
    (
        re.compile(r'(?P<name>[^:]*\S)\s*[:：]\s+(?P<more>.*\S)'),
        'in {0!r} a colon follows a name: write synonyms as {name}, {more} (an id, which is a '
        'number, stands in front: 7: {name})',
    ),
    (re.compile(r'(?:[-*•+]\s|<).*'), '{0!r} is not a class: ' + _SYNTAX),
    (re.compile(r'.*(?:\||\\n|\t|->|=>).*'), 'classes are not separated as in {0!r}: ' + _SYNTAX),
)


@dataclass(frozen=True)
class ClassList:
    """Classes that were written down.

    Attributes:
        synonyms: The synonyms of each class, K tuples, of which the first names it.
        ids: Its id in label files, K different integers from 0 to 65535; None where none is stated.
    """

    synonyms: tuple[tuple[str, ...], ...]
    ids: tuple[int, ...] | None = None


def parse_class_list(text: str, source: str = 'classes') -> ClassList:
    """Parse a text of classes.

    Args:
        text: In the syntax of this module; empty lines are left out.
        source: What errors call it.

    Raises:
        InputError: If there is no class, one has an empty synonym, ids are missing or not
            different, or the text looks like another syntax.
    """
    _refuse_brackets(text, source)
    items = [item for line in text.splitlines() for item in _split_line(line)]
    _refuse_columns(items, source)
    for item in items:
        _refuse_other(item.strip(), source)
    return read_class_list(items, source)


def read_class_list(items: Sequence, source: str = 'classes') -> ClassList:
    """Read classes that are separated already.

    Args:
        items: An item per class: a list of synonyms, or a text of them, with an id in front or
            without one.
        source: What errors call it.

    Raises:
        InputError: See :func:`parse_class_list`.
    """
    if not items:
        raise InputError(f'{source}: no class at all; give one class per line or item')
    found = [_read_class(item, f'{source}: class {i}') for i, item in enumerate(items, 1)]
    ids, synonyms = zip(*found)
    if all(each is None for each in ids):
        return ClassList(synonyms)
    if None in ids:
        name = synonyms[ids.index(None)][0]
        raise InputError(
            f"{source}: '{shorten(name)}' has no id, but others have: write one in front of each "
            f'class, such as 7: {shorten(name)}, or of none'
        )
    first: dict[int, int] = {}
    for number, each in enumerate(ids):
        if (place := first.setdefault(each, number)) != number:
            names = [shorten(synonyms[at][0]) for at in (place, number)]
            raise InputError(
                f"{source}: id {each} stands before '{names[0]}' and before '{names[1]}': give "
                'each class another, or join their synonyms by commas'
            )
        if each > LARGEST_ID:
            raise InputError(f'{source}: id {each} is too large: label files hold 0 to 65535')
    return ClassList(synonyms, ids)


def read_class_file(path: Path) -> ClassList:
    """Read a text file of classes.

    Raises:
        InputError: If it is large or not UTF-8; or see :func:`parse_class_list`.
    """
    if path.stat().st_size > _LARGEST_FILE:
        size = f'{_LARGEST_FILE >> 20} MiB'
        raise InputError(f'{path} is not a list of classes: it has more than {size}')
    try:
        return parse_class_list(path.read_text(encoding='utf-8-sig'), str(path))
    except UnicodeDecodeError as error:
        raise InputError(f'{path} is not UTF-8 text: {error}') from error


def split_synonyms(text: str) -> list[str]:
    """The synonyms of a class: separated by commas."""
    return text.translate(_SEPARATORS).split(',')


def is_separated(text: str) -> bool:
    """Whether a text has classes or synonyms that are separated, or an id: it is not one word."""
    return bool(re.search(r'[;,\n]', text.translate(_SEPARATORS)) or _ID.fullmatch(text))


def _split_line(line: str) -> Iterator[str]:
    """The classes of a line: separated by semicolons; after the last one there may be another.

    The semicolon of an HTML entity, such as ``&amp;``, is a part of it.
    """
    line = _COMMENT.sub('', line)
    if not line.strip():
        return
    names = _split(line)
    while len(names) > 1 and not names[-1].strip():
        names.pop()
    yield from names


def _split(line: str) -> list[str]:
    names = ['']
    for part in _SEMICOLON.split(line.translate(_SEPARATORS)):
        if part.endswith(';') and html.unescape(html.unescape(part)).endswith(';'):
            names[-1] += part[:-1]
            names.append('')
        else:
            names[-1] += part
    return names


def _read_class(item: object, name: str) -> tuple[int | None, tuple[str, ...]]:
    """The id and the synonyms of a class."""
    if not isinstance(item, (str, list, tuple)):
        raise InputError(f'{name} must be text or a list, not {item!r}')
    found = _ID.fullmatch(item) if isinstance(item, str) else None
    text = found[2] if found else item
    synonyms = split_synonyms(text) if isinstance(text, str) else text
    synonyms = tuple(str(each).strip() for each in synonyms)
    if not synonyms or not all(synonyms):
        raise InputError(
            f'{name} has an empty query ({shorten(str(item))!r}); remove the line, comma or '
            'semicolon, or write a name'
        )
    for text in synonyms:
        if len(_split(text)) > 1 or len(text.splitlines()) > 1:
            raise InputError(
                f'{name} has the query {shorten(text)!r}, but semicolons and line breaks separate '
                'classes: give an item for each, or commas for synonyms'
            )
    return int(found[1]) if found else None, synonyms


def _refuse_brackets(text: str, source: str) -> None:
    if _BRACKETS.fullmatch(text.strip()):
        raise InputError(
            f'{source}: {shorten(text.strip())!r} is in brackets, as JSON and Python have lists: '
            f'{_SYNTAX}'
        )


def _refuse_columns(items: Sequence[str], source: str) -> None:
    """Refuse a table whose columns are separated by commas or spaces, one of ids."""
    rows = [split_synonyms(item) for item in items]
    rows = rows[1:] if len(rows) > 1 and not _has_number(rows[0]) else rows  # without a heading
    if len(rows) > 1 and all(len(row) > 1 and _has_number(row) for row in rows):
        row = [cell.strip() for cell in rows[0]]
        number = next(cell for cell in row if cell.isdecimal())
        name = next((cell for cell in row if not cell.isdecimal()), 'name')
        raise InputError(
            f'{source}: {shorten(",".join(row))!r} is a row of a table, but commas separate '
            f'synonyms: write {number}: {name}'
        )
    numbered = [re.fullmatch(r'\s*(\d+)\s+(\D.*)', item) for item in items]
    columns = [{found[column] for found in numbered if found} for column in (1, 2)]
    if len(items) > 1 and all(len(column) == len(items) for column in columns):
        first = items[0].strip()
        number, name = first.split(None, 1)
        raise InputError(
            f'{source}: an id stands before a colon: for {shorten(first)!r} write {number}: {name}'
        )


def _has_number(row: Sequence[str]) -> bool:
    return any(cell.strip().isdecimal() for cell in row)


def _refuse_other(item: str, source: str) -> None:
    """Refuse a class that looks like another syntax, and say how it is to be written."""
    if len(item) > 1 and item[0] in _QUOTES and item[-1] in _QUOTES:
        bare = item.strip(_QUOTES)
        raise InputError(f'{source}: leave the quotes of {shorten(item)!r} out: {shorten(bare)}')
    found = _ID.fullmatch(item)
    name = found[2] if found else item
    for pattern, said in _OTHERS:
        if match := pattern.fullmatch(name):
            groups = {key: shorten(value) for key, value in match.groupdict().items()}
            raise InputError(f'{source}: {said.format(shorten(item), **groups)}')
