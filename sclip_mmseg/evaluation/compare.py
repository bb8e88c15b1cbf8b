"""Comparison of saved results: the output and files of ``sclip compare``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..datasets.benchmarks import BENCHMARKS
from ..old_names import old_arguments
from ..utils.errors import InputError, join_first
from ..utils.files import make_folder, write_atomically, write_csv
from .comparison import Comparison
from .confusion import draw_confusion
from .contact_sheets import write_contact_sheet
from .report import write_report
from .result import Result
from .result_images import ResultImages, find_images
from .resumable_test_loop import RESULT_FILE
from .settings import describe_settings
from .statistics import FEW_IMAGES, Differences, Intervals, align, plain


def compare(paths: Sequence[str | Path], out: str | Path | None = None) -> list[str]:
    """Compare saved results, without running anything again.

    Args:
        paths: ``result.npz`` files, work directories with one, or folders with several, such as
            that of ``sclip benchmark``; the results of a folder are compared with each other if
            they have the same images and classes.
        out: Folder for the report, tables, figures and contact sheets; None to write nothing.

    Returns:
        The lines to print.

    Raises:
        InputError: If a path has no result, or results named individually differ in images,
            classes or labels.
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
            f'not compared, since no other result has their images and classes: {", ".join(left)}'
        )
    return lines


def find_oracles(
    results: Mapping[str, Result], folders: Mapping[str, Path]
) -> dict[str, dict[str, Result]]:
    """Find the results of oracles beside other results.

    Args:
        results: Name → result.
        folders: Name → work directory.

    Returns:
        Name → name of an oracle → its result, if it has the same images.
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
        Name → file, and whether any path is a folder with several results.

    Raises:
        InputError: If a path has no result.
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
                    f'{path} has no {RESULT_FILE}: name the work directory of an evaluation, or '
                    'a folder with several of them'
                )
        files += found
    files = list(dict.fromkeys(file.resolve() for file in files))
    return {name: file for name, file in zip(_names(files), files)}, of_suite


def _names(files: Sequence[Path]) -> list[str]:
    """The shortest unique ends of the files' paths."""
    parts = [
        (*file.parts[:-1], *([] if file.name == RESULT_FILE else [file.stem])) for file in files
    ]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ['/'.join(part[-length:]) for part in parts]
        if len({*names}) == len(names):
            return names
    raise InputError(f'{files[0]} is named twice')


def group(results: Mapping[str, Result]) -> list[dict[str, Result]]:
    """Group results with the same images, classes and labels."""
    groups: dict[Any, dict[str, Result]] = {}
    for name, result in results.items():
        pixels: dict[str, int] = {}
        for image, start, end in zip(result.images, result.image_ptr, result.image_ptr[1:]):
            pixels[image] = int(result.pixels[start:end].sum())
        key = (tuple(result.class_names), tuple(sorted(pixels.items())))
        groups.setdefault(key, {})[name] = result
    return list(groups.values())


def _common_end(names: Iterable[str]) -> str:
    """The common end of names ``METHOD_BACKBONE_BENCHMARK``.

    Empty if it does not end with a benchmark, or is a whole name.
    """
    parts = [name.split('_') for name in names]
    end: list[str] = []
    shortest = min(map(len, parts))
    while len(end) < shortest - 1 and len(last := {each[-len(end) - 1] for each in parts}) == 1:
        end.insert(0, last.pop())
    common = '_'.join(end)
    return common if f'_{common}'.endswith(tuple(f'_{name}' for name in BENCHMARKS)) else ''


def describe(comparison: Comparison) -> list[str]:
    """Format metrics with intervals, the claims about pairs, and the largest confusions."""
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
    for name, found in comparison.confusions.items():
        confusions = '; '.join(map(str, found[:3]))
        lines.append(f'{name}: {confusions or "no class is predicted as another"}')
    return lines


def _cell(found: Intervals, key: str) -> str:
    if key not in found.overall:
        return ''
    interval = found.overall[key]
    return f'{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]'


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ['  '.join(f'{cell:<{w}}' for cell, w in zip(row, widths)).rstrip() for row in rows]


def _class_words(difference: Differences, names: Sequence[str]) -> str:
    """List the classes whose intervals exclude 0, the largest differences first."""
    known = [i for i, each in enumerate(difference.classes) if each.value == each.value]
    sure = [i for i in known if difference.classes[i].excludes_zero()]
    sure.sort(key=lambda i: -abs(difference.classes[i].value))
    if not sure:
        return ''
    words = [f'{names[i]} {difference.classes[i].value:+.2f}' for i in sure]
    by_chance = f'of {len(known)}, {0.05 * len(known):.1f} by chance alone'
    return f'Classes whose intervals exclude 0 ({by_chance}): {join_first(words)}.'


@old_arguments(pictures='images')
def write(
    comparison: Comparison,
    folders: Mapping[str, Path],
    out: Path,
    title: str = '',
    images: ResultImages | None = None,
) -> str:
    """Write ``report.html``, ``comparison.json``, tables, figures and contact sheets.

    Args:
        comparison: The results.
        folders: Name → work directory, whose config leads to images and label maps.
        out: Output folder, created if missing.
        title: Title of the report; empty for the names.
        images: Images, labels and predictions; None to find them.

    Returns:
        The reason why the report has no images; empty if it has.

    Raises:
        InputError: If the folder cannot be written to.
    """
    make_folder(out, 'name another folder by --out')
    note = ''
    try:
        images = images or find_images(comparison.results, folders)
    except InputError as error:
        note = f'without images: {error}'
    write_tables(comparison, out)
    for name, result in comparison.results.items():
        figure = draw_confusion(result, f'Confusion matrix of {name}')
        write_atomically(out / f'confusion_{_file_name(name)}.svg', figure.encode())
    if images is not None:
        chosen = list(comparison.choose_images().items())
        # Those of pairs come first; a single result has only its best and worst images.
        for heading, places in chosen[: -2 * len(comparison.results)] or chosen:
            path = out / f'{_file_name(heading)}.jpg'
            write_contact_sheet(path, images, comparison, places)
    title = title or ', '.join(comparison.results)
    write_report(comparison, out / 'report.html', images=images, title=title, note=note)
    return note


def _file_name(text: str) -> str:
    return ''.join(c if c.isalnum() or c in '-.' else '_' for c in text)


def write_tables(comparison: Comparison, out: Path) -> None:
    """Write ``comparison.json``, and its content as ``results.csv`` and ``differences.csv``."""
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
    """Metric, class, interval and share of resamples of all intervals."""
    shares = found.shares if isinstance(found, Differences) else {}
    class_shares = (
        found.class_shares if isinstance(found, Differences) else [None] * len(class_names)
    )
    rows = [(key, '', each, shares.get(key)) for key, each in found.overall.items()]
    rows += [('IoU', *each) for each in zip(class_names, found.classes, class_shares)]
    for metric, kind, each, share in rows:
        values = {key: plain(getattr(each, key)) for key in ('value', 'low', 'high')}
        yield metric, kind, values, plain(share)
