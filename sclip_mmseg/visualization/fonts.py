"""Text in any script, with the fonts of the machine."""

import unicodedata
import warnings
from functools import lru_cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

# Tried first for characters that the own font lacks; beginnings of file names.
_PREFERRED = (
    *('notosanscjk', 'notosans', 'sourcehansans', 'wqy', 'droidsansfallback', 'unifont'),
    *('pingfang', 'hiragino', 'arial unicode', 'msyh', 'meiryo', 'malgun', 'simsun'),
)
_NO_TEXT = ('emoji', 'lastresort', 'adobeblank')
_JOINED = ('Mn', 'Me', 'Mc', 'Cf')  # drawn with the character before


def text_size(text: str, size: int) -> tuple[int, int]:
    """Width and height in pixels of a line drawn by :func:`draw_text`."""
    width = sum(_font(path, size).getlength(part) for path, part in _runs(text))
    return int(width + 0.999), sum(_font(_own(), size).getmetrics())


def draw_text(
    sheet: Image.Image, position: tuple[int, int], text: str, size: int, color: tuple[int, ...]
) -> None:
    """Draw a line of text, each character in a font that has it.

    Args:
        sheet: Image to draw on, RGB or RGBA.
        position: Left and top of the line in pixels.
        text: The text; characters that no font has become question marks.
        size: Font size in pixels.
        color: Colour in the mode of ``sheet``.

    Warns:
        UserWarning: Once for each text with characters that no font has.
    """
    pen, x = ImageDraw.Draw(sheet), float(position[0])
    baseline = position[1] + _font(_own(), size).getmetrics()[0]
    for path, part in _runs(text):
        font = _font(path, size)
        pen.text((x, baseline), part, fill=color, font=font, anchor='ls')
        x += font.getlength(part)
    _warn_of_missing(text)


def _runs(text: str) -> list[tuple[str, str]]:
    """Split a line into runs of one font: the font's file, and the characters."""
    found = [(path or _own(), c if path else '?') for c, path in _fonts_of(text)]
    groups = groupby(found, key=lambda item: item[0])
    return [(path, ''.join(part for _, part in items)) for path, items in groups]


def _fonts_of(text: str) -> list[tuple[str, str | None]]:
    """Each character of a line, and the file of its font; None if there is none."""
    found: list[tuple[str, str | None]] = []
    # NFC: a letter and its accent become one character where that exists.
    for character in unicodedata.normalize('NFC', ' '.join(text.split())):
        if not found or unicodedata.category(character) not in _JOINED:
            found.append((character, find_font(character)))
        elif found[-1][1]:
            found.append((character, found[-1][1]))
    return found


@lru_cache(maxsize=1)
def _own() -> str:
    """Matplotlib's font, the same on every machine; it has Latin, Greek, Cyrillic and more."""
    found = find_spec('matplotlib')  # importing it would take long
    assert found and found.origin
    return str(Path(found.origin).with_name('mpl-data') / 'fonts/ttf/DejaVuSans.ttf')


@lru_cache(maxsize=4096)
def find_font(character: str) -> str | None:
    """File of a font that has a character; None if there is none."""
    if character.isascii() and character.isprintable():
        return _own()
    return next((path for path in (_own(), *_system_fonts()) if _has(path, character)), None)


@lru_cache(maxsize=4096)
def _warn_of_missing(text: str) -> None:
    missing = ''.join(dict.fromkeys(c for c, path in _fonts_of(text) if path is None))
    if missing:
        warnings.warn(
            f"no font has the characters {missing} of '{text}', drawn as '?': install one, e.g. "
            "'apt install fonts-noto-cjk fonts-noto-core', or put its .ttf or .otf file into "
            '~/.local/share/fonts',
            stacklevel=3,
        )


@lru_cache(maxsize=1)
def _system_fonts() -> list[str]:
    """Fonts of the machine and of the user, the best known first."""
    from matplotlib.font_manager import findSystemFonts

    def rank(path: str) -> tuple[int, bool, str]:
        name = Path(path).stem.lower()
        known = [index for index, start in enumerate(_PREFERRED) if name.startswith(start)]
        return min(known, default=len(_PREFERRED)), 'regular' not in name, path

    paths = findSystemFonts()
    return sorted(
        (path for path in paths if not any(word in path.lower() for word in _NO_TEXT)), key=rank
    )


def _has(path: str, character: str) -> bool:
    face = _face(path)
    return face is not None and face.get_char_index(ord(character)) != 0


@lru_cache(maxsize=1024)
def _face(path: str) -> Any:
    """The face of a font, which lists its characters; None if the file cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return FT2Font(path)
    except (OSError, RuntimeError):  # damaged, or a bitmap font
        return None


@lru_cache(maxsize=64)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)
