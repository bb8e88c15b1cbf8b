"""Tables of the colours of classes in RGB masks."""

from __future__ import annotations

import re
from pathlib import Path

from ...utils.errors import InputError

Color = tuple[int, int, int]
# `name: r,g,b`, and CVAT's `name:r,g,b:parts:actions`.
_LINE = re.compile(r'(?P<name>.+?)\s*[:=\s]\s*(?P<rgb>\d+\s*,\s*\d+\s*,\s*\d+)\s*(:.*)?')


def read_color_table(path: Path) -> dict[str, Color]:
    """Read a table of colours: ``name: r,g,b`` in each line, or CVAT's ``labelmap.txt``.

    Empty lines and comments, which start with ``#``, are skipped.

    Returns:
        Name → RGB.

    Raises:
        InputError: If the file cannot be read, or a line has another form, or repeats a name or
            colour.
    """
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'{path} cannot be read as a table of colours: {error}') from error
    table: dict[str, Color] = {}
    owners: dict[Color, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith('#'):
            continue
        match = _LINE.fullmatch(line.strip())
        values = list(map(int, match['rgb'].split(','))) if match else []
        if not match or max(values) > 255:
            raise InputError(
                f'{path}: line {number} is {line.strip()[:60]!r}, expected a name and a colour of '
                '0 to 255 as in: road: 128,64,128'
            )
        red, green, blue = values
        color, name = (red, green, blue), match['name'].strip()
        if name in table or color in owners:
            what = f"'{name}'" if name in table else ','.join(map(str, color))
            raise InputError(f'{path}: line {number} has {what} again: give each name one colour')
        table[name], owners[color] = color, name
    if not table:
        raise InputError(f'{path} has no colour: write lines as: road: 128,64,128')
    return table
