"""One page on results, which needs no network: HTML with figures and thumbnails inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import combinations
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from ..utils.files import write_atomically
from ..version import __version__
from .confusion import draw_confusion, image_scores, largest_flows
from .fingerprint import list_changes
from .pictures import Pictures
from .result import Result
from .settings import STATED, describe_settings, differing_parts
from .statistics import FEW_IMAGES, Differences, Interval, bootstrap, claim, paired_difference

#: Colours of Okabe and Ito, told apart with any eyes.
_COLORS = '#0072b2 #d55e00 #009e73 #cc79a7 #e69f00 #56b4e9 #000000 #a0a000'.split()
_THUMBNAIL = 480  # pixels
_TEMPLATE = Path(__file__).with_name('report.html')
# On the numbers: what else is counted or drawn.
_WITHOUT_EFFECT = 'test_evaluator', 'show_dir'
_ALL_PAIRS = 28  # of eight results; of more, those with the first


def write_report(
    results: Mapping[str, Result],
    out: str | Path,
    *,
    pictures: Pictures | None = None,
    title: str = 'Evaluation',
    note: str = '',
    oracles: Mapping[str, Mapping[str, Result]] | None = None,
    count: int = 6,
) -> None:
    """Write a page on results of the same images.

    Args:
        results: Name → result, the first being the one that others are compared with.
        out: The HTML file, in a folder that exists.
        pictures: Images, labels and predictions to be shown; None for a page without.
        title: Of the page.
        note: What else to say at its top, such as why there are no pictures.
        oracles: Name of a result → name of an oracle (:mod:`.oracles`) → its result.
        count: Images shown of each kind.

    Raises:
        InputError: If results are not of the same images, classes and labels, or the file cannot be
            written.
    """
    first = next(iter(results.values()))
    pairs = {
        (one, two): paired_difference(results[one], results[two])
        for one, two in list_pairs(results)
    }
    summary = f'{_count(first.images, "image")}, {_count(first.class_names, "class")}.'
    parts = [
        _paragraph(note),
        _table(results),
        _oracles(results, oracles or {}),
        _pairs(results, pairs),
        _classes(results),
        _class_differences(first, pairs),
        _confusions(results),
        _gallery(results, pictures, count),
        _settings(results),
    ]
    page = Template(_TEMPLATE.read_text(encoding='utf-8')).substitute(
        title=escape(title), version=__version__, summary=escape(summary), body='\n'.join(parts)
    )
    write_atomically(Path(out), page.encode())


def list_pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    """All pairs of some results, the first against the others in front; of many, only those."""
    listed = list(names)
    pairs = list(combinations(listed, 2))
    return pairs if len(pairs) <= _ALL_PAIRS else pairs[: len(listed) - 1]


def _count(items: Sequence, word: str) -> str:
    plural = {'class': 'classes'}.get(word, f'{word}s')
    return f'{len(items):,} {word if len(items) == 1 else plural}'


def _paragraph(text: str) -> str:
    return f'<p>{escape(text)}</p>' if text else ''


def _number(value: float, signed: bool = False) -> str:
    if value != value:
        return '–'
    return f'{value:+.2f}'.replace('-', '−') if signed else f'{value:.2f}'


def _cell(interval: Interval, signed: bool = False) -> str:
    ends = f'{_number(interval.low, signed)} to {_number(interval.high, signed)}'
    shown = '' if interval.low != interval.low else f'<br><span class="interval">{ends}</span>'
    return f'<td class="number">{_number(interval.value, signed)}{shown}</td>'


def _key(place: int) -> str:
    return f'<span class="key" style="background:{_COLORS[place % len(_COLORS)]}"></span>'


def _rows(head: Sequence[str], rows: Sequence[str], kind: str = '') -> str:
    cells = ''.join(f'<th>{escape(each)}</th>' for each in head)
    body = '\n'.join(f'<tr>{row}</tr>' for row in rows)
    return (
        f'<div class="wide"><table class="{kind}"><thead><tr>{cells}</tr></thead>'
        f'<tbody>\n{body}\n</tbody></table></div>'
    )


def _table(results: Mapping[str, Result]) -> str:
    rows = []
    metrics = dict.fromkeys(
        name for result in results.values() for name in bootstrap(result).overall
    )
    for place, (name, result) in enumerate(results.items()):
        overall, about = bootstrap(result).overall, describe_settings(result)
        cells = [_cell(overall[key]) if key in overall else '<td></td>' for key in metrics]
        words = [f'<td class="words">{escape(about[key])}</td>' for key in STATED]
        rows.append(''.join([f'<th>{_key(place)}{escape(name)}</th>', *cells, *words]))
    head = ['', *(f'{name} / %' for name in metrics), *STATED]
    few = len(next(iter(results.values())).images) < FEW_IMAGES
    warning = (
        f' These are fewer than {FEW_IMAGES} images: the intervals are too narrow.' if few else ''
    )
    return (
        '<h2>Numbers</h2>\n' + _rows(head, rows) + '\n<p class="quiet">Below each number its 95 % '
        f'interval: 2,000 resamples of the images with replacement.{warning}</p>'
    )


def _pairs(results: Mapping[str, Result], pairs: Mapping[tuple[str, str], Differences]) -> str:
    if not pairs:
        return ''
    rows, claims = [], []
    metrics = list(next(iter(pairs.values())).overall)
    for (a, b), difference in pairs.items():
        share = difference.shares['mIoU']
        cells = [_cell(difference.overall[key], True) for key in metrics]
        ahead = '–' if share != share else f'{100 * share:.1f} %'
        rows.append(
            f'<th>{escape(a)} − {escape(b)}</th>{"".join(cells)}<td class="number">{ahead}</td>'
        )
        words = claim(difference, a, b)
        if other := differing_parts(results[a], results[b]):
            words += f' They differ in {other}.'
        claims.append(f'<li>{escape(words)}</li>')
    by_chance = ''
    if len(pairs) > 1:
        by_chance = (
            f' Of {len(pairs)} such intervals, {0.05 * len(pairs):.1f} miss 0 by chance alone '
            'where nothing differs.'
        )
    text = (
        'Both results are resampled together. What is claimed holds for images like these, with '
        'these name lists, CLIPs and protocols, and for nothing else.' + by_chance
    )
    return (
        '<h2>Differences</h2>\n'
        + _rows(['', *metrics, 'ahead in mIoU'], rows)
        + f'\n<h3>What may be claimed</h3>\n<ul>{"".join(claims)}</ul>\n<p class="quiet">{text}</p>'
    )


def describe_oracles(name: str, result: Result, oracles: Mapping[str, Result]) -> list[str]:
    """Say in a sentence each what would be reached if something were known.

    Args:
        name: Of the result.
        result: What is reached.
        oracles: Name of an oracle → its result, on the same images.
    """
    sentences = []
    for oracle, reached in oracles.items():
        change = paired_difference(reached, result).overall['mIoU']
        ends = f'95 % interval {change.low:+.2f} to {change.high:+.2f}'
        more = f'{change.value:+.2f} ({ends})'
        if oracle == 'regions':
            sentences.append(
                f'If each region had the best of all classes: {reached.mIoU:.2f} mIoU, {more} '
                f'against {name}; their outlines cost {100 - reached.mIoU:.2f}.'
            )
        elif oracle == 'known-classes':
            sentences.append(
                f'If {name} knew the classes of each image: {reached.mIoU:.2f} mIoU, {more}: this '
                'is what telling names apart costs.'
            )
    return sentences


def _oracles(results: Mapping[str, Result], oracles: Mapping[str, Mapping[str, Result]]) -> str:
    lines = [
        f'<li>{escape(line)}</li>'
        for name, known in oracles.items()
        for line in describe_oracles(name, results[name], known)
    ]
    return f'<h2>If something were known</h2>\n<ul>{"".join(lines)}</ul>' if lines else ''


def _classes(results: Mapping[str, Result]) -> str:
    found = {name: bootstrap(result).classes for name, result in results.items()}
    names = next(iter(results.values())).class_names
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
            ends = f'{_number(each.low)} to {_number(each.high)}'
            lines.append(f'<span title="{ends}">{marks}</span>')
            values.append(f'<span>{_number(each.value)}</span>')
        blocks.append(
            f'<div class="class"><div>{escape(names[index])}</div><div class="scale">'
            f'{"".join(lines)}</div><div class="values">{"".join(values)}</div></div>'
        )
    return (
        '<h2>IoU of classes</h2>\n<p class="quiet">From 0 to 100 %, with 95 % intervals. A dash: '
        f'no pixel is labelled or predicted so. &nbsp; {keys}</p>\n<div class="classes">\n'
        + '\n'.join(blocks)
        + '\n</div>'
    )


def _class_differences(first: Result, pairs: Mapping[tuple[str, str], Differences]) -> str:
    parts: list[str] = []
    for (a, b), difference in pairs.items():
        found = difference.classes
        order = [i for i, each in enumerate(found) if each.value == each.value]
        order.sort(key=[-abs(each.value) for each in found].__getitem__)
        rows = []
        for index in order[:10]:
            share = difference.class_shares[index]
            certain = 'yes' if found[index].excludes_zero() else 'no'
            rows.append(
                f'<th>{escape(first.class_names[index])}</th>{_cell(found[index], True)}'
                f'<td class="number">{100 * share:.1f} %</td><td>{certain}</td>'
            )
        by_chance = (
            f'Of the IoU of {len(order)} classes, {0.05 * len(order):.1f} intervals miss 0 by '
            'chance alone where nothing differs.'
        )
        parts.append(
            f'<details class="figure"{"" if parts else " open"}><summary>Classes in which '
            f'{escape(a)} and {escape(b)} differ most</summary>\n'
            + _rows(['', f'{a} − {b}', 'ahead', '0 is outside'], rows)
            + f'\n<p class="quiet">{escape(by_chance)}</p></details>'
        )
    return '\n'.join(parts)


def _confusions(results: Mapping[str, Result]) -> str:
    parts = []
    for place, (name, result) in enumerate(results.items()):
        flows = ''.join(f'<li>{escape(str(flow))}</li>' for flow in largest_flows(result, 8))
        figure = draw_confusion(result, f'Confusion matrix of {name}')
        parts.append(
            f'<div><h3>{_key(place)}{escape(name)}</h3>\n<ul>{flows}</ul>\n<details class="figure"'
            f'{" open" if len(results) == 1 else ""}><summary>Confusion matrix: labels are rows, '
            f'predictions columns</summary><div class="wide confusion">{figure}</div></details>'
            '</div>'
        )
    blocks = '\n'.join(parts)
    return f'<h2>What is taken for what</h2>\n<div class="confusions">{blocks}</div>'


def choose_images(
    results: Mapping[str, Result], count: int
) -> dict[str, list[tuple[str, dict[str, float]]]]:
    """Choose the images that are worth a look.

    Args:
        results: Name → result, of the same images.
        count: The most of each kind.

    Returns:
        Heading → images in order, each with the mean IoU over its label's classes by result. Those
        of the first result that are best and worst, and where it gains and loses most against the
        second.
    """
    (a, first), *others = results.items()
    scores = {name: _scores_in_order(result, first.images) for name, result in results.items()}
    kinds = {f'Best of {a}': -scores[a], f'Worst of {a}': scores[a]}
    for b, _ in others[:1]:
        change = scores[a] - scores[b]
        kinds = {
            f'{a} gains most over {b}': np.where(change > 0, -change, np.nan),
            f'{a} loses most to {b}': np.where(change < 0, change, np.nan),
            **kinds,
        }
    chosen = {}
    for heading, order in kinds.items():
        places = [i for i in np.argsort(order, kind='stable') if order[i] == order[i]][:count]
        values = [{name: float(scores[name][i]) for name in results} for i in places]
        chosen[heading] = [(first.images[i], each) for i, each in zip(places, values)]
    return chosen


def _scores_in_order(result: Result, images: Sequence[str]) -> np.ndarray:
    scores = image_scores(result)
    if result.images == images:
        return scores
    places = {name: place for place, name in enumerate(result.images)}
    return scores[[places[name] for name in images]]


def describe_image(name: str, scores: Mapping[str, float]) -> str:
    """An image's name, and its mean IoU by result."""
    return f'{name}: ' + ', '.join(f'{key} {_number(value)}' for key, value in scores.items())


def _gallery(results: Mapping[str, Result], pictures: Pictures | None, count: int) -> str:
    class_names = next(iter(results.values())).class_names
    parts, embedded = ['<h2>Images</h2>'], {}
    chosen = choose_images(results, count)
    titles = ['image']
    if pictures is not None:
        titles += ['truth'] * (pictures.label is not None) + list(pictures.predictions)
        parts.append(_choices(titles))
    text = 'Behind each name is the mean IoU in percent over the classes of the image’s label.'
    parts.append(f'<p class="quiet">{text}</p>')
    for heading, images in chosen.items():
        parts.append(f'<h3>{escape(heading)}</h3>')
        if not images:
            parts.append('<p>None.</p>')
        elif pictures is None:
            lines = (f'<li>{escape(describe_image(*each))}</li>' for each in images)
            parts.append(f'<ul>{"".join(lines)}</ul>')
        else:
            figures = []
            for name, scores in images:
                if name not in embedded:
                    embedded[name] = _figure(name, pictures, class_names)
                words = escape(describe_image(name, scores))
                figures.append(f'<figure><figcaption>{words}</figcaption>{embedded[name]}</figure>')
            parts.append(f'<div class="gallery">{"".join(figures)}</div>')
    return '\n'.join(parts)


def _choices(titles: Sequence[str]) -> str:
    boxes = []
    chosen = (titles[min(1, len(titles) - 1)], titles[-1 if len(titles) < 3 else 2])
    for side, value in zip(('Left', 'Right'), chosen):
        options = ''.join(
            f'<option{" selected" if title == value else ""}>{escape(title)}</option>'
            for title in titles
        )
        boxes.append(f'<label>{side} of the slider <select>{options}</select></label>')
    return f'<div class="controls">{"".join(boxes)}</div>'


def _figure(name: str, pictures: Pictures, class_names: Sequence[str]) -> str:
    layers, shown = pictures.layers(name, _THUMBNAIL, class_names)
    parts = []
    for title, picture in layers.items():
        label = escape(title, quote=True)
        parts.append(
            f'<div class="layer" data-layer="{label}"><img alt="{label} of '
            f'{escape(name, quote=True)}" src="{_data_uri(picture)}"><span>{label}</span></div>'
        )
    slider = '<input type="range" min="0" max="100" value="50" aria-label="Where the slider is">'
    keys = [
        f'<span><span class="key" style="background:rgb{tuple(map(int, pictures.palette[index]))}">'
        f'</span>{escape(class_names[index])}</span>'
        for index in shown
    ]
    legend = f'<div class="legend">{" ".join(keys)}</div>'
    return f'<div class="layers">{"".join(parts)}</div>{slider}{legend}'


def _data_uri(picture: np.ndarray) -> str:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, 'JPEG', quality=82)
    return f'data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}'


def _settings(results: Mapping[str, Result]) -> str:
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
        severe, slight = list_changes(first[1].fingerprint, result.fingerprint)
        listed = (line for line in [*severe, *slight] if not line.startswith(_WITHOUT_EFFECT))
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
                f'<details><summary>All that the numbers of {escape(name)} depend on</summary>'
                f'{_rows(["", ""], lines, "settings")}</details>'
            )
    return '\n'.join(parts)
