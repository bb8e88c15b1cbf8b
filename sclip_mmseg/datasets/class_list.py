"""The syntax of class lists in files, on the command line, on the web page and in Python.

One class per line, or several separated by semicolons; synonyms of a class are separated by commas;
``#`` starts a comment; the id of a class in label files may precede it, as in ``7: road``.
"""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..utils.errors import InputError, shorten

#: The largest id, since label files have at most 16 bits.
LARGEST_ID = 65535
_LARGEST_FILE = 1 << 24  # bytes
_SYNTAX = 'write a class per line or separated by semicolons, synonyms by commas: cat, kitten; dog'
# Semicolons and commas of other scripts, and their full-width forms.
_SEPARATORS = str.maketrans('；﹔︔؛，﹐︐،、', ';;;;,,,,,')
_SEMICOLON = re.compile(r'(&(?:amp;)*(?:#[0-9]+|#x[0-9a-f]+|[0-9a-z]+);|;)', re.IGNORECASE)
_COMMENT = re.compile(r'(^|\s)#.*$')
_ID = re.compile(r'\s*(\d+)\s*[:：]\s*(.*)', re.DOTALL)
_QUOTES = '"\'“”‘’`'
# Texts in the syntax of JSON or Python.
_BRACKETS = re.compile(r'[\[{(].*[\]})]', re.DOTALL)
# Classes in other syntaxes, and the advice in the error message; `{0}` is the text.
_OTHERS = (
    (
        re.compile(r'[^:]*\S\s*[:：]\s*\d+\s*,\s*\d+\s*,\s*\d+\s*(:.*)?'),
        '{0!r} is a line of a table of colours: name such a table by --colors, and write only the '
        'name of the class here',
    ),
    (
        re.compile(r'(?P<name>.*\S)\s*(?:[:：]|=>?|->)\s*(?P<id>\d+)'),
        'in {0!r} the id follows the name: write {id}: {name}',
    ),
    (
        re.compile(r'(?P<id>\d+)\s*(?:[.)](?!\d)|\t|=>?|->|\s-\s)\s*(?P<name>\S.*)'),
        'an id is followed by a colon: for {0!r} write {id}: {name}',
    ),
    (
        re.compile(r'(?P<name>[^:]*\S)\s*[:：]\s+(?P<more>.*\S)'),
        'in {0!r} a colon follows a name: write synonyms as {name}, {more} (only an id, '
        'which is a number, has a colon: 7: {name})',
    ),
    (re.compile(r'(?:[-*•+]\s|<).*'), '{0!r} is not a class: ' + _SYNTAX),
    (re.compile(r'.*(?:\||\\n|\t|->|=>).*'), 'classes are not separated as in {0!r}: ' + _SYNTAX),
)


@dataclass(frozen=True)
class ClassList:
    """A parsed class list.

    Attributes:
        synonyms: The synonyms of each class, K tuples; the first synonym is its name.
        ids: Ids in label files, K different integers from 0 to 65535; None if the list has none.
    """

    synonyms: tuple[tuple[str, ...], ...]
    ids: tuple[int, ...] | None = None


def parse_class_list(text: str, source: str = 'classes') -> ClassList:
    """Parse a text of classes.

    Args:
        text: Classes in the syntax of this module; empty lines are skipped.
        source: Name of the text in error messages.

    Raises:
        InputError: If there is no class, a synonym is empty, ids are missing or repeated, or the
            text has another syntax.
    """
    _refuse_brackets(text, source)
    items = [item for line in text.splitlines() for item in _split_line(line)]
    _refuse_columns(items, source)
    for item in items:
        _refuse_other(item.strip(), source)
    return read_class_list(items, source)


def read_class_list(items: Sequence, source: str = 'classes') -> ClassList:
    """Read a list with an item per class.

    Args:
        items: An item per class: a list of synonyms, or a text of them, which may start with an id.
        source: Name of the list in error messages.

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
            f"{source}: '{shorten(name)}' has no id, but others have: write one before each class, "
            f'such as 7: {shorten(name)}, or before none'
        )
    first: dict[int, int] = {}
    for number, each in enumerate(ids):
        if (place := first.setdefault(each, number)) != number:
            names = [shorten(synonyms[at][0]) for at in (place, number)]
            raise InputError(
                f"{source}: '{names[0]}' and '{names[1]}' have the same id {each}: give each class "
                'another, or join their synonyms by commas'
            )
        if each > LARGEST_ID:
            raise InputError(f'{source}: id {each} is too large: label files hold 0 to 65535')
    return ClassList(synonyms, ids)


def read_class_file(path: Path) -> ClassList:
    """Read a text file of classes.

    Raises:
        InputError: If the file is too large or not UTF-8, or as :func:`parse_class_list`.
    """
    if path.stat().st_size > _LARGEST_FILE:
        size = f'{_LARGEST_FILE >> 20} MiB'
        raise InputError(f'{path} is not a list of classes: it has more than {size}')
    try:
        return parse_class_list(path.read_text(encoding='utf-8-sig'), str(path))
    except UnicodeDecodeError as error:
        raise InputError(f'{path} is not UTF-8 text: {error}') from error


def split_synonyms(text: str) -> list[str]:
    """Split the synonyms of a class at commas."""
    return text.translate(_SEPARATORS).split(',')


def is_separated(text: str) -> bool:
    """Whether a text has a separator of classes or synonyms, or an id."""
    return bool(re.search(r'[;,\n]', text.translate(_SEPARATORS)) or _ID.fullmatch(text))


def _split_line(line: str) -> Iterator[str]:
    """Split the classes of a line at semicolons; trailing semicolons are ignored.

    The semicolon of an HTML entity, such as ``&amp;``, is not a separator.
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
            f'{source}: {shorten(text.strip())!r} is in brackets, like a list in JSON or Python: '
            f'{_SYNTAX}'
        )


def _refuse_columns(items: Sequence[str], source: str) -> None:
    """Reject a table with a column of ids, separated by commas or spaces."""
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
            f'{source}: an id is followed by a colon: for {shorten(first)!r} write {number}: {name}'
        )


def _has_number(row: Sequence[str]) -> bool:
    return any(cell.strip().isdecimal() for cell in row)


def _refuse_other(item: str, source: str) -> None:
    """Reject a class in another syntax, and say how to write it."""
    if len(item) > 1 and item[0] in _QUOTES and item[-1] in _QUOTES:
        bare = item.strip(_QUOTES)
        raise InputError(f'{source}: leave the quotes of {shorten(item)!r} out: {shorten(bare)}')
    found = _ID.fullmatch(item)
    name = found[2] if found else item
    for pattern, said in _OTHERS:
        if match := pattern.fullmatch(name):
            groups = {key: shorten(value) for key, value in match.groupdict().items()}
            raise InputError(f'{source}: {said.format(shorten(item), **groups)}')
