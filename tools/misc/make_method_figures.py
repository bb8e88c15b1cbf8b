#!/usr/bin/env python
"""Draw docs/images/methods/*.svg, a schematic of each method, from method_figures.yml."""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import yaml
from generated_files import ROOT, write_outdated

from sclip_mmseg.utils.program import as_program

TABLE = Path(__file__).with_name('method_figures.yml')
FOLDER = ROOT / 'docs/images/methods'
#: Largest width of a figure in pixels, little more than that of the site's text.
WIDEST = 800
#: Kind of a box → fill, outline, and its meaning in the legend; empty: not in the legend.
KINDS = {
    'data': ('#eef3fa', '#7d93b2', ''),
    'clip': ('#fdf3d7', '#c29a2b', 'CLIP, frozen'),
    'tower': ('#e9e3f7', '#7a5cc0', 'another frozen model'),
    'trained': ('#fbe4d8', '#c7703a', 'trained for the task'),
    'base': ('#d9eff2', '#3a8794', 'as in the method that it extends'),
    'new': ('#dcf0df', '#3b8a4a', 'added or changed by the method'),
    'dropped': ('none', '#9aa0a6', 'left out'),
}
FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
SIZE, LINE, PAD, GAP, MARGIN = 12, 16, 8, 24, 14
APART = 16  # between the boxes of a column
RADIUS = 9  # of the turns of an arrow
_NARROW, _WIDE = "iljtfrI.,:;|'()[] ᵀ₁₂·", 'mwMWQO@Σ∞→'


@dataclass
class Box:
    """A box of a figure.

    Attributes:
        column: Column, counted from 0.
        row: Row, in steps of :attr:`Figure.pitch`; fractions are allowed.
        kind: Key of :data:`KINDS`.
        lines: Lines of text, the first one in bold.
        x, y, width, height: Left, middle and size in pixels, set by :func:`lay_out`.
    """

    column: int
    row: float
    kind: str
    lines: list[str]
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0

    def __post_init__(self) -> None:
        self.lines = [str(line) for line in self.lines]
        self.height = LINE * len(self.lines) + 2 * PAD - 4
        self.width = max(
            text_width(line, bold=not number) for number, line in enumerate(self.lines)
        )
        self.width += 2 * PAD

    @property
    def right(self) -> float:
        """Right side in pixels."""
        return self.x + self.width

    @property
    def top(self) -> float:
        """Upper side in pixels."""
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        """Lower side in pixels."""
        return self.y + self.height / 2


@dataclass
class Figure:
    """A figure, as its entry in the table describes it.

    Attributes:
        title: What the figure shows, for those who cannot see it.
        boxes: Boxes by name.
        arrows: From and to, by name; the route, ``''``, ``'over'``, ``'under'`` or ``'early'``; and
            a label.
        frames: Label, and names of the boxes that a dashed frame surrounds.
    """

    title: str
    boxes: dict[str, Box]
    arrows: list[tuple[str, str, str, str]]
    frames: list[tuple[str, list[str]]] = field(default_factory=list)

    @property
    def pitch(self) -> float:
        """Height of a row in pixels, the least that keeps the boxes of a column apart."""
        pairs = [
            (above, below)
            for above in self.boxes.values()
            for below in self.boxes.values()
            if above.column == below.column and above.row < below.row
        ]
        return max(
            (((a.height + b.height) / 2 + APART) / (b.row - a.row) for a, b in pairs), default=0
        )


def text_width(text: str, bold: bool = False) -> float:
    """Upper bound of the width of a line in pixels, in any of the fonts."""
    units = sum(0.4 if c in _NARROW else 0.95 if c in _WIDE else 0.6 for c in text)
    return units * SIZE * (1.08 if bold else 1)


def read_table() -> dict[str, Figure]:
    """The figures by name.

    Raises:
        KeyError: If an arrow or a frame names a box that does not exist.
    """
    entries = yaml.safe_load(TABLE.read_text(encoding='utf-8'))
    return {name: _read(entry) for name, entry in entries.items()}


def _read(entry: dict[str, Any]) -> Figure:
    if 'last_block' in entry:
        drawn = _last_block(**entry['last_block'])
        boxes, arrows = entry.get('boxes', {}), entry.get('arrows', [])
        entry = {**entry, 'boxes': {**drawn[0], **boxes}, 'arrows': drawn[1] + arrows}
    boxes = {
        name: Box(column, row, kind, lines)
        for name, (column, row, kind, *lines) in entry['boxes'].items()
    }
    arrows = []
    for text in entry['arrows']:
        text, _, label = text.partition(' | ')
        path, _, route = text.partition(': ')
        start, end = path.split(' > ')
        arrows.append((start, end, route, label))
    frames = [(frame['text'], frame['around']) for frame in entry.get('frames', [])]
    for name in [n for start, end, *_ in arrows for n in (start, end)] + [
        n for _, names in frames for n in names
    ]:
        boxes[name]  # KeyError
    return Figure(entry['title'], boxes, arrows, frames)


def _last_block(
    maps: list[str],
    residual: bool,
    kind: str = 'new',
    texts: list[str] | None = None,
    bias: list[str] | None = None,
) -> tuple[dict[str, list], list[str]]:
    """Boxes and arrows of a method that changes the last block's attention only.

    Args:
        maps: The two factors of each map's logits, as ``'q k'``; empty for the identity.
        residual: Whether the block adds its input and runs its MLP.
        kind: Kind of the maps.
        texts: Lines for each map in place of the formula.
        bias: Lines of a box for what is added to the logits.
    """
    used = {letter for pair in maps for letter in pair.split()} | {'v'}
    boxes: dict[str, list] = {'blocks': [0, 1, 'clip', 'Blocks 1–11', 'unchanged']}
    arrows = []
    for row, letter in enumerate('qkv'):
        boxes[letter] = [1, row, 'clip' if letter in used else 'dropped', letter]
        arrows += [f'blocks > {letter}'] * (letter in used)
    rows = {0: [0.5], 1: [0.5], 2: [0, 1], 3: [0, 1, 2]}[len(maps)]
    if bias:
        boxes['bias'] = [2, -0.05, kind, *bias]
        rows, arrows = [1], [*arrows, 'bias > map0']
    for number, (row, pair) in enumerate(zip(rows, maps or [''])):
        formula = 'softmax({} {}ᵀ / √d)'.format(*pair.split()) if pair else ''
        boxes[f'map{number}'] = [2, row, kind, *(texts or [formula])]
        arrows += [f'{letter} > map{number}' for letter in dict.fromkeys(pair.split())]
        arrows.append(f'map{number} > mix')
    total = {2: '(A₁ + A₂) v', 3: 'Σ Aᵢ v'}.get(len(maps), 'A v')
    boxes['mix'] = [3, 1, 'clip', total, 'output', 'projection']
    arrows.append('v > mix: under' if 'v v' in maps else 'v > mix')
    if residual:
        boxes['mlp'] = [4, 1, 'clip', 'Residual', 'and MLP']
        arrows += ['mix > mlp', 'mlp > out', 'blocks > mlp: over | input of the last block']
    else:
        boxes['mlp'] = [4, 0, 'dropped', 'Residual', 'and MLP']
        arrows.append('mix > out')
    boxes['out'] = [4 + residual, 1, 'clip', 'Final norm,', 'projection']
    boxes['features'] = [5 + residual, 1, 'data', 'Patch', 'features']
    arrows.append('out > features')
    return boxes, arrows


def lay_out(figure: Figure) -> tuple[float, float]:
    """Place the boxes; returns width and height of the figure in pixels."""
    boxes = list(figure.boxes.values())
    left = float(MARGIN)
    for column in range(max(box.column for box in boxes) + 1):
        members = [box for box in boxes if box.column == column]
        width = max((box.width for box in members), default=0)
        for box in members:
            box.x, box.width = left, width
        left += width + GAP
    pitch = figure.pitch
    above = MARGIN + max(box.height / 2 - box.row * pitch for box in boxes)
    lanes = [route for *_, route, _ in figure.arrows]
    above += 26 * ('over' in lanes) + 22 * bool(figure.frames)
    for box in boxes:
        box.y = above + box.row * pitch
    height = max(box.bottom for box in boxes)
    height += 22 * ('under' in lanes) + 10 * bool(figure.frames)
    return left - GAP + MARGIN, height + 44


def draw(figure: Figure) -> str:
    """The SVG of a figure.

    Raises:
        ValueError: If it is too wide.
    """
    width, height = lay_out(figure)
    kinds = {box.kind for box in figure.boxes.values()}
    used = [kind for kind in KINDS if kind in kinds and KINDS[kind][2]]
    legend = [(kind, text_width(KINDS[kind][2]) + 38) for kind in used]
    width = max(width, 2 * MARGIN + sum(step for _, step in legend))
    if width > WIDEST:
        raise ValueError(f'{figure.title}: {width:.0f} pixels are too wide, shorten its texts')
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{FONT}" font-size="{SIZE}" '
        'role="img">',
        f'<title>{escape(figure.title)}</title>',
        '<defs><marker id="a" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z" fill="#555"/></marker></defs>',
        # Opaque, so that it is read on a dark page too.
        f'<rect x=".5" y=".5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="8" '
        'fill="#ffffff" stroke="#d0d7de"/>',
        *_frames(figure),
        *_arrows(figure),
        *(line for box in figure.boxes.values() for line in _box(box)),
        *_labels(figure),
        *_legend(legend, height - 22),
        '</svg>',
    ]
    return '\n'.join(parts) + '\n'


def _box(box: Box) -> Iterator[str]:
    fill, stroke, _ = KINDS[box.kind]
    dropped = box.kind == 'dropped'
    dash = ' stroke-dasharray="4 3"' if dropped else ''
    yield (
        f'<rect x="{box.x:.1f}" y="{box.top:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:.1f}" rx="6" fill="{fill}" stroke="{stroke}"{dash}/>'
    )
    middle = box.x + box.width / 2
    for number, line in enumerate(box.lines):
        y = box.y + LINE * (number - (len(box.lines) - 1) / 2) + 4
        weight = ' font-weight="bold"' if not number else ''
        colour = '#6b7177' if dropped else '#1b1f24'
        yield (
            f'<text x="{middle:.1f}" y="{y:.1f}" text-anchor="middle"{weight} '
            f'fill="{colour}">{escape(line)}</text>'
        )


def _path(figure: Figure, start: Box, end: Box, route: str) -> tuple[str, tuple[float, float]]:
    """Data of an arrow's path, and where its label stands."""
    if route in ('over', 'under'):
        sign = -1 if route == 'over' else 1
        boxes = figure.boxes.values()
        lane = min(b.top for b in boxes) - 14 if sign < 0 else max(b.bottom for b in boxes) + 14
        x1, x2 = start.x + start.width / 2, end.x + end.width / 2
        y1, y2 = (b.top if sign < 0 else b.bottom for b in (start, end))
        turn = RADIUS if x2 > x1 else -RADIUS
        up = RADIUS * sign
        return (
            f'M{x1:.1f} {y1:.1f}V{lane - up:.1f}q0 {up} {turn} {up}H{x2 - turn:.1f}'
            f'q{turn} 0 {turn} {-up}V{y2 - sign:.1f}',
            ((x1 + x2) / 2, lane + (-5 if sign < 0 else 13)),
        )
    if start.column == end.column:
        x, down = start.x + start.width / 2, end.y > start.y
        y1, y2 = (start.bottom, end.top - 1) if down else (start.top, end.bottom + 1)
        return f'M{x:.1f} {y1:.1f}V{y2:.1f}', (x + 6, (y1 + y2) / 2 + 4)
    x1, x2, y1, y2 = start.right, end.x - 1, start.y, end.y
    # Parallel arrows end beside each other.
    others = [f for f, t, r, _ in figure.arrows if figure.boxes[t] is end and not r]
    sides = [figure.boxes[name].y for name in others if figure.boxes[name].column != end.column]
    if len(sides) > 1:
        sides.sort()
        spread = min(10, (end.height - 12) / (len(sides) - 1))
        y2 += spread * (sides.index(y1) - (len(sides) - 1) / 2) if y1 in sides else 0
    bend = GAP / 2
    if x2 - x1 > GAP + 4 and route == 'early':
        first, last = x1, x1 + GAP
        path = f'M{x1:.1f} {y1:.1f}C{first + bend:.1f} {y1:.1f} {last - bend:.1f} {y2:.1f} '
        return path + f'{last:.1f} {y2:.1f}H{x2:.1f}', ((last + x2) / 2, y2 - 5)
    first = x2 - GAP + 1
    path = f'M{x1:.1f} {y1:.1f}' + (f'H{first:.1f}' if first > x1 + 1 else '')
    path += f'C{first + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}'
    return path, ((x1 + first) / 2, y1 - 5)


def _arrows(figure: Figure) -> Iterator[str]:
    for first, last, route, _ in figure.arrows:
        path, _ = _path(figure, figure.boxes[first], figure.boxes[last], route)
        style = 'stroke="#555" stroke-width="1.4" fill="none" marker-end="url(#a)"'
        yield f'<path d="{path}" {style}/>'


def _labels(figure: Figure) -> Iterator[str]:
    for first, last, route, label in figure.arrows:
        if label:
            start, end = figure.boxes[first], figure.boxes[last]
            _, (x, y) = _path(figure, start, end, route)
            anchor = 'start' if start.column == end.column and not route else 'middle'
            yield (
                f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="11" '
                f'fill="#444" stroke="#fff" stroke-width="3" paint-order="stroke">'
                f'{escape(label)}</text>'
            )


def _frames(figure: Figure) -> Iterator[str]:
    for text, names in figure.frames:
        boxes = [figure.boxes[name] for name in names]
        x, right = min(b.x for b in boxes) - 10, max(b.right for b in boxes) + 10
        top, bottom = min(b.top for b in boxes) - 24, max(b.bottom for b in boxes) + 9
        yield (
            f'<rect x="{x:.1f}" y="{top:.1f}" width="{right - x:.1f}" height="{bottom - top:.1f}" '
            'rx="8" fill="#f6f8fa" stroke="#afb8c1" stroke-dasharray="5 4"/>'
        )
        yield f'<text x="{x + 10:.1f}" y="{top + 15:.1f}" fill="#57606a">{escape(text)}</text>'


def _legend(entries: list[tuple[str, float]], y: float) -> Iterator[str]:
    x = float(MARGIN)
    for kind, step in entries:
        fill, stroke, meaning = KINDS[kind]
        dash = ' stroke-dasharray="3 2"' if kind == 'dropped' else ''
        yield (
            f'<rect x="{x:.1f}" y="{y:.1f}" width="16" height="11" rx="3" fill="{fill}" '
            f'stroke="{stroke}"{dash}/>'
        )
        yield f'<text x="{x + 22:.1f}" y="{y + 10:.1f}" fill="#57606a">{escape(meaning)}</text>'
        x += step


def make_figures() -> dict[Path, str]:
    """The SVG of each figure by its path."""
    return {FOLDER / f'{name}.svg': draw(figure) for name, figure in read_table().items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the figures; with --check, exit with code 1 if one is outdated."""
    write_outdated(make_figures, __doc__, argv)


if __name__ == '__main__':
    with as_program():
        main()
