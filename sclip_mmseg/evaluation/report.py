"""A self-contained HTML page on results, with figures and thumbnails."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from itertools import chain
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from ..old_names import old_arguments
from ..utils.files import write_atomically
from ..version import __version__
from .comparison import Comparison, number
from .confusion import draw_confusion
from .fingerprint import list_changes
from .result_images import ResultImages
from .settings import STATED, describe_settings
from .statistics import FEW_IMAGES, Interval

#: Colours of Okabe and Ito, which are safe for colour-blind readers.
_COLORS = '#0072b2 #d55e00 #009e73 #cc79a7 #e69f00 #56b4e9 #000000 #a0a000'.split()
_THUMBNAIL = 480  # pixels
_TEMPLATE = Path(__file__).with_name('report.html')
# Settings without effect on the numbers: what else is counted or drawn.
_WITHOUT_EFFECT = 'test_evaluator', 'show_dir'


@old_arguments(pictures='images')
def write_report(
    comparison: Comparison,
    out: str | Path,
    *,
    images: ResultImages | None = None,
    title: str = 'Evaluation',
    note: str = '',
) -> None:
    """Write a page on results with the same images.

    Args:
        comparison: The results.
        out: The HTML file, in an existing folder.
        images: Images, labels and predictions to show; None for a page without images.
        title: Title of the page.
        note: Text at the top, such as why there are no images.

    Raises:
        InputError: If the file cannot be written.
    """
    summary = f'{_count(comparison.images, "image")}, {_count(comparison.class_names, "class")}.'
    parts = [
        _paragraph(note),
        _table(comparison),
        _oracles(comparison),
        _pairs(comparison),
        _classes(comparison),
        _class_differences(comparison),
        _confusions(comparison),
        _gallery(comparison, images),
        _settings(comparison),
    ]
    page = Template(_TEMPLATE.read_text(encoding='utf-8')).substitute(
        title=escape(title), version=__version__, summary=escape(summary), body='\n'.join(parts)
    )
    write_atomically(Path(out), page.encode())


def _count(items: Sequence, word: str) -> str:
    plural = {'class': 'classes'}.get(word, f'{word}s')
    return f'{len(items):,} {word if len(items) == 1 else plural}'


def _paragraph(text: str) -> str:
    return f'<p>{escape(text)}</p>' if text else ''


def _cell(interval: Interval | None, signed: bool = False) -> str:
    if interval is None:
        return '<td></td>'
    ends = f'{number(interval.low, signed)} to {number(interval.high, signed)}'
    shown = '' if interval.low != interval.low else f'<br><span class="interval">{ends}</span>'
    return f'<td class="number">{number(interval.value, signed)}{shown}</td>'


def _key(place: int) -> str:
    return f'<span class="key" style="background:{_COLORS[place % len(_COLORS)]}"></span>'


def _rows(head: Sequence[str], rows: Sequence[str], kind: str = '') -> str:
    cells = ''.join(f'<th>{escape(each)}</th>' for each in head)
    body = '\n'.join(f'<tr>{row}</tr>' for row in rows)
    return (
        f'<div class="wide"><table class="{kind}"><thead><tr>{cells}</tr></thead>'
        f'<tbody>\n{body}\n</tbody></table></div>'
    )


def _table(comparison: Comparison) -> str:
    rows, metrics = [], comparison.metrics
    for place, (name, result) in enumerate(comparison.results.items()):
        overall, about = comparison.intervals[name].overall, describe_settings(result)
        cells = [_cell(overall.get(key)) for key in metrics]
        words = [f'<td class="words">{escape(about[key])}</td>' for key in STATED]
        rows.append(''.join([f'<th>{_key(place)}{escape(name)}</th>', *cells, *words]))
    head = ['', *(f'{name} / %' for name in metrics), *STATED]
    few = len(comparison.images) < FEW_IMAGES
    warning = f' With fewer than {FEW_IMAGES} images, the intervals are too narrow.' if few else ''
    return (
        '<h2>Metrics</h2>\n'
        + _rows(head, rows)
        + '\n<p class="quiet">Below each number is its 95 % '
        f'interval, from 2,000 resamples of the images with replacement.{warning}</p>'
    )


def _pairs(comparison: Comparison) -> str:
    if not comparison.differences:
        return ''
    rows = []
    metrics = dict.fromkeys(key for each in comparison.differences.values() for key in each.overall)
    for (a, b), difference in comparison.differences.items():
        share = difference.shares['mIoU']
        cells = [_cell(difference.overall.get(key), True) for key in metrics]
        ahead = '–' if share != share else f'{100 * share:.1f} %'
        rows.append(
            f'<th>{escape(a)} − {escape(b)}</th>{"".join(cells)}<td class="number">{ahead}</td>'
        )
    claims = (f'<li>{escape(" ".join(words))}</li>' for words in comparison.claims.values())
    text = (
        'Both results use the same resamples. Claims hold only for images like these, with these '
        f'name lists, CLIPs and protocols. {comparison.by_chance()}'
    )
    return (
        '<h2>Differences</h2>\n'
        + _rows(['', *metrics, 'ahead in mIoU'], rows)
        + f'\n<h3>What may be claimed</h3>\n<ul>{"".join(claims)}</ul>\n<p class="quiet">{text}</p>'
    )


def _oracles(comparison: Comparison) -> str:
    lines = ''.join(f'<li>{escape(line)}</li>' for line in comparison.oracles)
    return f'<h2>Oracles: known classes or outlines</h2>\n<ul>{lines}</ul>' if lines else ''


def _classes(comparison: Comparison) -> str:
    found = {name: each.classes for name, each in comparison.intervals.items()}
    names = comparison.class_names
    first = next(iter(found.values()))
    order = sorted(range(len(names)), key=lambda i: (-np.nan_to_num(first[i].value, nan=-1), i))
    keys = ' &nbsp; '.join(
        f'<span class="name">{_key(i)}{escape(name)}</span>' for i, name in enumerate(found)
    )
    blocks = []
    for index in order:
        lines, values = [], []
        for place, intervals in enumerate(found.values()):
            each, color = intervals[index], _COLORS[place % len(_COLORS)]
            marks = ''
            if each.value == each.value:
                low, high = (each.low, each.high) if each.low == each.low else (each.value,) * 2
                marks = (
                    f'<i style="left:{low:.2f}%;width:{high - low:.2f}%;background:{color}"></i>'
                    f'<b style="left:{each.value:.2f}%;background:{color}"></b>'
                )
            ends = f'{number(each.low)} to {number(each.high)}'
            lines.append(f'<span title="{ends}">{marks}</span>')
            values.append(f'<span>{number(each.value)}</span>')
        blocks.append(
            f'<div class="class"><div>{escape(names[index])}</div><div class="scale">'
            f'{"".join(lines)}</div><div class="values">{"".join(values)}</div></div>'
        )
    return (
        '<h2>IoU of classes</h2>\n<p class="quiet">From 0 to 100 %, with 95 % intervals; a dash if '
        f'no pixel has this label or prediction. &nbsp; {keys}</p>\n<div class="classes">\n'
        + '\n'.join(blocks)
        + '\n</div>'
    )


def _class_differences(comparison: Comparison) -> str:
    parts: list[str] = []
    for (a, b), difference in comparison.differences.items():
        found = difference.classes
        order = [i for i, each in enumerate(found) if each.value == each.value]
        order.sort(key=[-abs(each.value) for each in found].__getitem__)
        rows = []
        for index in order[:10]:
            share = difference.class_shares[index]
            certain = 'yes' if found[index].excludes_zero() else 'no'
            rows.append(
                f'<th>{escape(comparison.class_names[index])}</th>{_cell(found[index], True)}'
                f'<td class="number">{100 * share:.1f} %</td><td>{certain}</td>'
            )
        by_chance = (
            f'Of the intervals of {len(order)} classes, {0.05 * len(order):.1f} exclude 0 by '
            'chance if nothing differs.'
        )
        parts.append(
            f'<details class="figure"{"" if parts else " open"}><summary>Classes in which '
            f'{escape(a)} and {escape(b)} differ most</summary>\n'
            + _rows(['', f'{a} − {b}', 'ahead', '0 is outside'], rows)
            + f'\n<p class="quiet">{escape(by_chance)}</p></details>'
        )
    return '\n'.join(parts)


def _confusions(comparison: Comparison) -> str:
    parts = []
    for place, (name, result) in enumerate(comparison.results.items()):
        confusions = ''.join(
            f'<li>{escape(str(confusion))}</li>' for confusion in comparison.confusions[name]
        )
        figure = draw_confusion(result, f'Confusion matrix of {name}')
        is_open = ' open' if len(comparison.results) == 1 else ''
        parts.append(
            f'<div><h3>{_key(place)}{escape(name)}</h3>\n<ul>{confusions}</ul>\n'
            f'<details class="figure"{is_open}><summary>Confusion matrix: labels are rows, '
            f'predictions columns</summary><div class="wide confusion">{figure}</div></details>'
            '</div>'
        )
    blocks = '\n'.join(parts)
    return f'<h2>Confusions</h2>\n<div class="confusions">{blocks}</div>'


def _gallery(comparison: Comparison, images: ResultImages | None) -> str:
    chosen = comparison.choose_images()
    parts = [
        '<h2>Images</h2>\n<p class="quiet">After each name is the mean IoU in percent over the '
        'classes of the image’s label.</p>'
    ]
    if images is not None:
        titles = ['image', *(['truth'] if images.label else []), *images.predictions]
        sides = titles[min(1, len(titles) - 1)], titles[-1 if len(titles) < 3 else 2]
        boxes = [_select('Images', list(chosen))]
        boxes += [_select(*side) for side in zip(('Left', 'Right'), (titles, titles), sides)]
        parts.append(f'<div class="controls">{"".join(boxes)}</div>')
    for heading, places in chosen.items():
        lines = ''.join(f'<li>{escape(comparison.describe_image(i))}</li>' for i in places)
        parts.append(
            f'<div class="kind" data-images="{" ".join(map(str, places))}">'
            f'<h3>{escape(heading)}</h3><ol>{lines}</ol></div>'
        )
    if images is not None:
        figures = [
            f'<figure data-image="{i}"><figcaption>{escape(comparison.describe_image(i))}'
            f'</figcaption>{_figure(comparison.images[i], images, comparison.class_names)}'
            '</figure>'
            for i in dict.fromkeys(chain(*chosen.values()))
        ]
        parts.append(f'<div class="gallery">{"".join(figures)}</div>')
    return '\n'.join(parts)


def _select(label: str, values: Sequence[str], chosen: str = '') -> str:
    options = ''.join(
        f'<option{" selected" if value == chosen else ""}>{escape(value)}</option>'
        for value in values
    )
    return f'<label>{label} <select>{options}</select></label>'


def _figure(name: str, images: ResultImages, class_names: Sequence[str]) -> str:
    layers, shown = images.layers(name, _THUMBNAIL, class_names)
    parts = []
    for title, image in layers.items():
        label = escape(title, quote=True)
        parts.append(
            f'<div class="layer" data-layer="{label}"><img alt="{label} of '
            f'{escape(name, quote=True)}" src="{_data_uri(image)}"><span>{label}</span></div>'
        )
    slider = '<input type="range" min="0" max="100" value="50" aria-label="Position of the slider">'
    keys = [
        f'<span><span class="key" style="background:rgb{tuple(map(int, images.palette[index]))}">'
        f'</span>{escape(class_names[index])}</span>'
        for index in shown
    ]
    legend = f'<div class="legend">{" ".join(keys)}</div>'
    return f'<div class="layers">{"".join(parts)}</div>{slider}{legend}'


def _data_uri(image: np.ndarray) -> str:
    content = io.BytesIO()
    Image.fromarray(image).save(content, 'JPEG', quality=82)
    return f'data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}'


def _settings(comparison: Comparison) -> str:
    results = comparison.results
    about = {name: describe_settings(result) for name, result in results.items()}
    keys = dict.fromkeys(key for values in about.values() for key in values)
    rows = [
        f'<th>{escape(key)}</th>'
        + ''.join(f'<td>{escape(values.get(key, ""))}</td>' for values in about.values())
        for key in keys
    ]
    parts = ['<h2>Settings</h2>', _rows(['', *results], rows, 'settings')]
    first, *others = results.items()
    for name, result in others:
        found = chain(*list_changes(first[1].fingerprint, result.fingerprint))
        listed = (line for line in found if not line.startswith(_WITHOUT_EFFECT))
        changes = ''.join(f'<li>{escape(line)}</li>' for line in listed)
        words = f'{first[0]} → {name}: settings that differ'
        parts.append(f'<h3>{escape(words)}</h3>\n<ul>{changes or "<li>none</li>"}</ul>')
    for name, result in results.items():
        lines = [
            f'<th>{escape(key)}</th><td>{escape(str(value))}</td>'
            for key, value in result.fingerprint.items()
        ]
        if lines:
            parts.append(
                f'<details><summary>Fingerprint of {escape(name)}, on which its numbers depend'
                '</summary>'
                f'{_rows(["", ""], lines, "settings")}</details>'
            )
    return '\n'.join(parts)
