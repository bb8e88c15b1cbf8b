"""Comparisons of saved results: what ``sclip compare`` prints and writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..datasets.benchmarks import BENCHMARKS
from ..utils.errors import InputError, join_first
from ..utils.files import make_folder, write_atomically, write_csv
from .comparison import Comparison
from .confusion import draw_confusion
from .contact_sheets import write_contact_sheet
from .pictures import Pictures, find_pictures
from .report import write_report
from .result import Result
from .resumable_test_loop import RESULT_FILE
from .settings import describe_settings
from .statistics import FEW_IMAGES, Differences, Intervals, align, plain


def compare(paths: Sequence[str | Path], out: str | Path | None = None) -> list[str]:
    """Compare saved results, without running anything again.

    Args:
        paths: ``result.npz`` files, work directories that hold one, or folders of several, such as
            a suite's; these are compared among themselves as far as they are of the same images and
            classes.
        out: Folder for the report, tables, figures and contact sheets; None for none.

    Returns:
        What to print, line by line.

    Raises:
        InputError: If a path holds no result, or results named one by one are not of the same
            images, classes and labels.
    """
    files, of_suite = find_results(paths)
    results = {name: Result.load(path) for name, path in files.items()}
    groups = group(results) if of_suite else [results]
    lines, compared = [], [each for each in groups if len(each) > 1] or groups[:1]
    titles: set[str] = set()
    for number, each in enumerate(compared):
        end = _common_end(each) if of_suite else ''
        short = {name: name.removesuffix(f'_{end}') if end else name for name in each}
        named = {short[name]: result for name, result in each.items()}
        work_dirs = {short[name]: files[name].parent for name in each}
        comparison = Comparison.of(named, find_oracles(named, work_dirs))
        lines += [f'{end}:'] * bool(end) + describe(comparison)
        if out is not None:
            folder = Path(out)
            if len(compared) > 1:
                title = _file_name(end or next(iter(each)))
                folder = folder / (f'{title}_{number}' if title in titles else title)
                titles.add(title)
            note = write(comparison, work_dirs, folder, title=end)
            lines += [note] if note else []
            lines.append(f'{(folder / "report.html").resolve()}')
        lines.append('')
    left = [name for names in groups if names not in compared for name in names]
    if left:
        lines.append(
            f'not compared, as no other result has their images and classes: {", ".join(left)}'
        )
    return lines


def find_oracles(
    results: Mapping[str, Result], folders: Mapping[str, Path]
) -> dict[str, dict[str, Result]]:
    """Find what is saved beside results: what is reached if something were known.

    Args:
        results: Name → result.
        folders: Name → work directory.

    Returns:
        Name → name of an oracle → its result, as far as it is of the same images.
    """
    found: dict[str, dict[str, Result]] = {}
    for name, result in results.items():
        for path in sorted(folders[name].glob('oracle_*.npz')):
            oracle = Result.load(path)
            try:
                found.setdefault(name, {})[path.stem[len('oracle_') :]] = align(result, oracle)
            except InputError:  # of an earlier run
                continue
    return found


def find_results(paths: Sequence[str | Path]) -> tuple[dict[str, Path], bool]:
    """Find the files of results.

    Args:
        paths: See :func:`compare`.

    Returns:
        Name → file, and whether some path is a folder of several.

    Raises:
        InputError: If a path holds no result.
    """
    files: list[Path] = []
    of_suite = False
    for path in map(Path, paths):
        found = [path / RESULT_FILE] if path.is_dir() else [path]
        if path.is_dir() and not found[0].is_file():
            found = sorted(path.rglob(RESULT_FILE))
            of_suite = True
            if not found:
                raise InputError(
                    f'{path} holds no {RESULT_FILE}: name the work directory of an evaluation, or '
                    'the folder of several'
                )
        files += found
    files = list(dict.fromkeys(file.resolve() for file in files))
    return {name: file for name, file in zip(_names(files), files)}, of_suite


def _names(files: Sequence[Path]) -> list[str]:
    """The shortest ends of the files' paths that tell them apart."""
    parts = [
        (*file.parts[:-1], *([] if file.name == RESULT_FILE else [file.stem])) for file in files
    ]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ['/'.join(part[-length:]) for part in parts]
        if len({*names}) == len(names):
            return names
    raise InputError(f'{files[0]} is named twice')


def group(results: Mapping[str, Result]) -> list[dict[str, Result]]:
    """Put results of the same images, classes and labels together."""
    groups: dict[Any, dict[str, Result]] = {}
    for name, result in results.items():
        pixels: dict[str, int] = {}
        for image, start, end in zip(result.images, result.image_ptr, result.image_ptr[1:]):
            pixels[image] = int(result.pixels[start:end].sum())
        key = (tuple(result.class_names), tuple(sorted(pixels.items())))
        groups.setdefault(key, {})[name] = result
    return list(groups.values())


def _common_end(names: Iterable[str]) -> str:
    """The common end of names of pairs ``METHOD_BACKBONE_BENCHMARK``.

    Empty where that does not end with a benchmark, or is the whole of a name.
    """
    parts = [name.split('_') for name in names]
    end: list[str] = []
    shortest = min(map(len, parts))
    while len(end) < shortest - 1 and len(last := {each[-len(end) - 1] for each in parts}) == 1:
        end.insert(0, last.pop())
    common = '_'.join(end)
    return common if f'_{common}'.endswith(tuple(f'_{name}' for name in BENCHMARKS)) else ''


def describe(comparison: Comparison) -> list[str]:
    """Numbers with intervals, what may be claimed of each pair, and the largest flows, as text."""
    rows = [['', *comparison.metrics]]
    for name, each in comparison.intervals.items():
        rows.append([name, *(_cell(each, key) for key in comparison.metrics)])
    images, classes = comparison.images, comparison.class_names
    lines = [f'{len(images):,} images, {len(classes)} classes; in percent, with 95 % intervals']
    lines += _aligned(rows)
    if len(images) < FEW_IMAGES:
        lines.append(f'fewer than {FEW_IMAGES} images: the intervals are too narrow')
    for pair, difference in comparison.differences.items():
        lines += ['', *comparison.claims[pair]]
        if words := _class_words(difference, classes):
            lines.append(words)
    lines += ['', by_chance] if (by_chance := comparison.by_chance()) else []
    lines += comparison.oracles
    for name, found in comparison.flows.items():
        flows = '; '.join(map(str, found[:3]))
        lines.append(f'{name}: {flows or "nothing is taken for anything else"}')
    return lines


def _cell(found: Intervals, key: str) -> str:
    if key not in found.overall:
        return ''
    interval = found.overall[key]
    return f'{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]'


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ['  '.join(f'{cell:<{w}}' for cell, w in zip(row, widths)).rstrip() for row in rows]


def _class_words(difference: Differences, names: Sequence[str], count: int = 3) -> str:
    """The classes whose intervals exclude 0, the largest differences first, as a phrase."""
    known = [i for i, each in enumerate(difference.classes) if each.value == each.value]
    sure = [i for i in known if difference.classes[i].excludes_zero()]
    sure.sort(key=lambda i: -abs(difference.classes[i].value))
    if not sure:
        return ''
    words = [f'{names[i]} {difference.classes[i].value:+.2f}' for i in sure]
    by_chance = f'of {len(known)}, {0.05 * len(known):.1f} by chance alone'
    return f'Classes whose intervals exclude 0 ({by_chance}): {join_first(words, count)}.'


def write(
    comparison: Comparison,
    folders: Mapping[str, Path],
    out: Path,
    title: str = '',
    pictures: Pictures | None = None,
) -> str:
    """Write ``report.html``, ``comparison.json``, tables, figures and contact sheets.

    Args:
        comparison: The results.
        folders: Name → work directory, where the config leads to images and label maps.
        out: Folder, made when missing.
        title: Title of the report; by default the names.
        pictures: Images, labels and predictions; found when missing.

    Returns:
        Why there are no pictures, as a line; empty where there are.

    Raises:
        InputError: If the folder cannot be written to.
    """
    make_folder(out, 'name another folder by --out')
    note = ''
    try:
        pictures = pictures or find_pictures(comparison.results, folders)
    except InputError as error:
        note = f'without pictures: {error}'
    write_tables(comparison, out)
    for name, result in comparison.results.items():
        figure = draw_confusion(result, f'Confusion matrix of {name}')
        write_atomically(out / f'confusion_{_file_name(name)}.svg', figure.encode())
    if pictures is not None:
        chosen = list(comparison.choose_images().items())
        # Those of pairs come first; the best and worst of a single result are all there is.
        for heading, places in chosen[: -2 * len(comparison.results)] or chosen:
            path = out / f'{_file_name(heading)}.jpg'
            write_contact_sheet(path, pictures, comparison, places)
    title = title or ', '.join(comparison.results)
    write_report(comparison, out / 'report.html', pictures=pictures, title=title, note=note)
    return note


def _file_name(text: str) -> str:
    return ''.join(c if c.isalnum() or c in '-.' else '_' for c in text)


def write_tables(comparison: Comparison, out: Path) -> None:
    """Write ``comparison.json``, and ``results.csv`` and ``differences.csv`` with the same."""
    names = comparison.class_names
    numbers = [
        dict(result=name, metric=metric, **{'class': kind}, **interval)
        for name, found in comparison.intervals.items()
        for metric, kind, interval, _ in _all(found, names)
    ]
    changes = [
        dict(a=a, b=b, metric=metric, **{'class': kind}, **interval, ahead=share)
        for (a, b), found in comparison.differences.items()
        for metric, kind, interval, share in _all(found, names)
    ]
    settings = {name: describe_settings(result) for name, result in comparison.results.items()}
    content = dict(settings=settings, results=numbers, differences=changes)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(out / 'comparison.json', text.encode())
    for name, rows in (('results', numbers), ('differences', changes)):
        if rows:
            write_csv(out / f'{name}.csv', rows)


def _all(
    found: Intervals, class_names: Sequence[str]
) -> Iterator[tuple[str, str, dict[str, float | None], float | None]]:
    """Metric, class, interval and share of resamples of all that has an interval."""
    shares = found.shares if isinstance(found, Differences) else {}
    class_shares = (
        found.class_shares if isinstance(found, Differences) else [None] * len(class_names)
    )
    rows = [(key, '', each, shares.get(key)) for key, each in found.overall.items()]
    rows += [('IoU', *each) for each in zip(class_names, found.classes, class_shares)]
    for metric, kind, each, share in rows:
        values = {key: plain(getattr(each, key)) for key in ('value', 'low', 'high')}
        yield metric, kind, values, plain(share)
