"""RGBA sprites with Unicode names, from freely licensed pictograms.

The folder given as ``--pictograms`` is a ``node_modules`` folder; ``data/toy/README.md`` lists the
packages and how to download them.
"""

import io
import json
import re
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

TRAIN_STYLES = ('noto', 'noto-v1', 'twemoji', 'openmoji', 'fxemoji', 'streamline-emojis')
VAL_STYLES = ('emojione',)  # for tuning of temperature and training recipe
#: Icon sets, mostly monochrome, for more variety of shapes than the few emoji vendors provide.
ICON_SETS = (
    *('at-icons', 'bi', 'bitcoin-icons', 'boxicons', 'bxs', 'cil', 'clarity', 'fa6-solid'),
    *('game-icons', 'glyphs', 'glyphs-poly', 'griddy-icons', 'icon-park-solid'),
    *('icon-park-twotone', 'iconmind', 'ion', 'ix', 'keyline-icons', 'maki', 'marketeq'),
    *('material-symbols', 'mdi', 'mingcute', 'mynaui', 'ph', 'picon', 'pinhead', 'reicon', 'ri'),
    *('roentgen', 'solar', 'streamline-color', 'streamline-kameleon-color'),
    *('streamline-plump-color', 'streamline-ultimate-color', 'tabler', 'temaki', 'vs', 'whh'),
)
NAMES = 'unicode-emoji-json/data-by-emoji.json'
SPRITE_SIZE = 160
_GROUPS = ('Animals & Nature', 'Food & Drink', 'Travel & Places', 'Activities', 'Objects')
_ICON_VARIANT = re.compile(
    r'(-(filled|fill|solid|bold|rounded|sharp|duotone|outline|two-tone|twotone|15|11))+$'
)
_PEOPLE = re.compile(r'^(man|woman|person|boy|girl|child|older person|old (man|woman)|people)\b')
# Places and times of day are whole scenes; clocks differ only by their hands.
_SCENES = re.compile(r'o’clock|thirty|moon|cityscape|sunrise|sunset|night|globe|city|camping')


class Pictogram(NamedTuple):
    """A pictogram.

    Attributes:
        name: Unicode name.
        pixels: RGBA, uint8 ``[size, size, 4]``.
    """

    name: str
    pixels: np.ndarray


def load_styles(folder: Path, styles: list[str], cache_folder: Path) -> list[Pictogram]:
    """Rasterise the pictograms of the given icon sets, and cache them in ``cache_folder``."""
    pictograms = []
    for style in styles:
        cached = cache_folder / f'{style}_{SPRITE_SIZE}.npz'
        if not cached.is_file():
            cache_folder.mkdir(parents=True, exist_ok=True)
            _write_sprites(_list_emoji(folder, style), cached)
        with np.load(cached) as file:
            pictograms += [Pictogram(*pair) for pair in zip(file['names'].tolist(), file['pixels'])]
    return pictograms


def load_icons(
    folder: Path, names: dict[str, tuple[str, ...]], cache_folder: Path
) -> list[Pictogram]:
    """Rasterise monochrome icons, each in two colours, and cache them in ``cache_folder``.

    Args:
        folder: Folder of icon sets.
        names: Class → names of icons that show it.
        cache_folder: Cache of the rasterised icons.
    """
    cached = cache_folder / f'icons_{SPRITE_SIZE}.npz'
    if not cached.is_file():
        cache_folder.mkdir(parents=True, exist_ok=True)
        shown = {icon: name for name, icons in names.items() for icon in icons}
        svgs = []
        for icon_set in tqdm(ICON_SETS, desc='icons', unit='set'):
            content = _read_icon_set(folder, icon_set)
            for icon in content['icons']:
                name = shown.get(_ICON_VARIANT.sub('', icon))
                if name:
                    svgs += [(name, _to_svg(content, icon, color)) for color in _colors(icon)]
        _write_sprites(svgs, cached)
    with np.load(cached) as file:
        return [Pictogram(*pair) for pair in zip(file['names'].tolist(), file['pixels'])]


def _colors(icon: str) -> list[str]:
    """Two colours derived from the icon's name."""
    code = zlib.crc32(icon.encode())
    return [f'#{code & 0xFFFFFF:06x}', f'#{code >> 8:06x}']


def read_folder(folder: Path) -> list[Pictogram]:
    """Read a folder of pictograms named after what they show, such as ``small_airplane.webp``."""
    return [
        Pictogram(path.stem.replace('_', ' '), np.asarray(Image.open(path).convert('RGBA')))
        for path in sorted(folder.glob('*.webp'))
    ]


@cache
def unicode_names(folder: Path) -> dict[str, str]:
    """Map code points (``1f415``, joined by ``-``, without U+FE0F) to names of things."""
    entries = _read_json(folder / NAMES)
    names = {}
    for emoji, entry in entries.items():
        people = entry['group'] == 'People & Body' and is_person(entry['name'])
        if (people or entry['group'] in _GROUPS) and not _SCENES.search(entry['name']):
            names[_code(f'{ord(char):x}' for char in emoji)] = entry['name']
    return names


def is_person(name: str) -> bool:
    """Whether a Unicode name is that of a person."""
    return bool(_PEOPLE.match(name))


def _code(points) -> str:
    return '-'.join(point for point in points if point != 'fe0f')


def _write_sprites(svgs: Sequence[tuple[str, str]], target: Path) -> None:
    """Rasterise pairs ``(name, SVG)``, except for almost empty ones."""
    names, pixels = [], []
    for name, svg in tqdm(svgs, desc=target.stem, unit='pictogram'):
        sprite = _render(svg)
        if (sprite[..., 3] > 127).mean() > 0.1:
            names.append(name)
            pixels.append(sprite)
    np.savez(target, names=np.array(names), pixels=np.stack(pixels))


def _list_emoji(folder: Path, style: str) -> list[tuple]:
    """List ``(Unicode name, SVG)`` of an Iconify icon set."""
    content = _read_icon_set(folder, style)
    by_code = unicode_names(folder)
    by_slug = {_slug(name): name for name in by_code.values()}
    icons = {
        icon: by_code[_code(code.split('-'))]
        for code, icon in content.get('chars', {}).items()
        if _code(code.split('-')) in by_code
    } or {icon: by_slug[_slug(icon)] for icon in content['icons'] if _slug(icon) in by_slug}
    known = content['icons']
    return [(name, _to_svg(content, icon)) for icon, name in icons.items() if icon in known]


def _to_svg(content: dict, icon: str, color: str = '#000000') -> str:
    """Convert an icon of an Iconify set to SVG; ``color`` applies to monochrome icons."""
    entry = content['icons'][icon]
    sizes = (entry.get(key, content.get(key, 16)) for key in ('width', 'height'))
    box = ' '.join(map(str, (entry.get('left', 0), entry.get('top', 0), *sizes)))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" color="{color}">'
    return f'{head}{entry["body"]}</svg>'


def _read_icon_set(folder: Path, name: str) -> dict:
    return _read_json(folder / '@iconify/json/json' / f'{name}.json')


def _read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding='utf-8'))


def _slug(name: str) -> str:
    return re.sub(r'[^a-z0-9]+', '', name.lower())


def _render(svg: str) -> np.ndarray:
    import resvg_py

    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SPRITE_SIZE, height=SPRITE_SIZE))
    image = Image.open(io.BytesIO(png)).convert('RGBA')
    return np.asarray(image.resize((SPRITE_SIZE, SPRITE_SIZE)))
