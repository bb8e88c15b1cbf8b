"""A sweep's settings in a table, as CSV and in a plot."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Sequence

from .grid import Setting
from .loop import SettingResult

#: What any text that shows a best setting has to say.
CAUTION = (
    'The best setting was chosen with the labels it is scored on: its mIoU is tuned on this split, '
    'not comparable with numbers whose thresholds were not. To report a fair one, choose on other '
    'images (--cfg-options test_dataloader.dataset.ann_file=…) and evaluate that setting here once.'
)
_MOST_ROWS = 40
_AXES = ('prob_thd', 'background', 'logit_scale', 'area_thd')  # the first that varies is drawn as x


def write(results: Sequence[SettingResult], own: Setting, title: str, folder: Path) -> None:
    """Print the table, and write table and plot.

    Args:
        results: Of all settings.
        own: The config's own setting.
        title: Of the plot.
        folder: Exists.
    """
    write_csv(results, own, folder)
    draw(results, own, title, folder / 'sweep.png')
    best = best_of(results)
    print(f'\n{len(results)} settings:\n')
    print(to_text(results, own))
    if best.setting != own:
        print(f'\nthe best: --cfg-options {best.setting.options(own)}')
    print(f'\n{CAUTION}\n\n{folder.resolve()}/{{sweep.csv,classes.csv,sweep.png}}')


def best_of(results: Sequence[SettingResult]) -> SettingResult:
    """The result of largest mIoU, unrounded; the first of equal ones."""
    return max(results, key=lambda result: (result.mIoU == result.mIoU, result.mIoU))


def varied(results: Sequence[SettingResult]) -> list[str]:
    """Names of the settings that have more than one value."""
    settings = [result.setting for result in results]
    return [n for n in Setting._fields if len({getattr(s, n) for s in settings}) > 1]


def to_text(results: Sequence[SettingResult], own: Setting) -> str:
    """Format a table of what varies and the metrics, the config's own setting and the best marked.

    Of more than 40 settings, the best ones are shown.
    """
    best, names = best_of(results), varied(results)
    shown = list(results)
    if len(results) > _MOST_ROWS:
        ranked = sorted(results, key=lambda result: -result.mIoU)
        kept = ranked[: _MOST_ROWS // 2] + [r for r in results if r.setting == own]
        shown = [result for result in results if result in kept]
    rows = [[*names, *results[0].result.metrics(), '']]
    for result in shown:
        marks = ['best'] * (result is best) + ["config's own"] * (result.setting == own)
        values = [value_text(getattr(result.setting, name)) for name in names]
        metrics = [f'{value:.2f}' for value in result.result.metrics().values()]
        rows.append([*values, *metrics, ', '.join(marks)])
    widths = [max(map(len, column)) for column in zip(*rows)]
    text = ['  '.join(cell.rjust(width) for cell, width in zip(row[:-1], widths)) for row in rows]
    lines = [f'{line}  {row[-1]}'.rstrip() for line, row in zip(text, rows)]
    if len(shown) < len(results):
        lines.append(f"({len(shown)} of {len(results)} settings: the best, and the config's own)")
    return '\n'.join(lines)


def write_csv(results: Sequence[SettingResult], own: Setting, folder: Path) -> None:
    """Write ``sweep.csv``, a line per setting, and ``classes.csv``, a line per setting and class.

    Args:
        results: In the order of lines.
        own: The config's own setting.
        folder: Exists.
    """
    best = best_of(results)
    lines: list[dict[str, Any]] = []
    classes: list[dict[str, Any]] = []
    for result in results:
        setting = result.setting._asdict()
        marks = dict(own=int(result.setting == own), best=int(result is best))
        lines.append({**setting, **result.result.metrics(), **marks})
        by_class = result.result.by_class()
        classes += [{**setting, 'class': n, **values} for n, values in by_class.items()]
    for name, rows in (('sweep', lines), ('classes', classes)):
        with open(folder / f'{name}.csv', 'w', newline='', encoding='utf-8') as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


def value_text(value) -> str:
    """A value of a setting in few characters."""
    return 'none' if value is None else f'{value:g}'


def draw(results: Sequence[SettingResult], own: Setting, title: str, path: Path) -> None:
    """Draw mIoU against one setting, a line per value of the next and a panel per value of others.

    Args:
        results: Of all settings.
        own: The config's own setting, marked by a square, or by a dashed line where it shares no
            line with others; the best is marked by a star.
        title: Above the panels.
        path: Of the picture, whose suffix tells its format.
    """
    import matplotlib
    from matplotlib.figure import Figure

    best = best_of(results)
    [own_result] = [result for result in results if result.setting == own]
    level = None
    if best is not own_result and _stands_alone(own_result, results):
        level = own_result.mIoU
        results = [result for result in results if result is not own_result]
    x_name, axes_names = _axes(results)
    others = [name for name in axes_names if name != x_name]
    line_name, panel_names = others[0] if others else None, others[1:]
    panels = _groups(results, panel_names)
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(1.2 + 3.6 * columns, 0.9 + 2.9 * rows), layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat
    lines = _groups(results, [line_name] if line_name else [])
    shades = matplotlib.colormaps['viridis']
    colors = {key: shades(0.9 * n / max(len(lines) - 1, 1)) for n, key in enumerate(lines)}
    x_values = sorted({getattr(r.setting, x_name) for r in results}, key=_order)
    ticks = {value: n for n, value in enumerate(x_values)} if None in x_values else None
    place = (lambda value: value) if ticks is None else ticks.get
    for axis, (key, members) in zip(grid, panels.items()):
        for line, points in _groups(members, [line_name] if line_name else []).items():
            xs = [place(getattr(point.setting, x_name)) for point in points]
            label = f'{line_name} {value_text(line[0])}' if line_name else None
            axis.plot(xs, [p.mIoU for p in points], '.-', color=colors[line], lw=1.4, label=label)
        for result, marker, size, name in (
            (own_result, 's', 7, "config's own"),
            (best, '*', 13, 'best'),
        ):
            if result not in members:
                continue
            line = (getattr(result.setting, line_name),) if line_name else ()
            axis.plot(
                *([place(getattr(result.setting, x_name))], [result.mIoU], marker),
                markersize=size,
                markerfacecolor=colors[line] if marker == '*' else 'none',
                markeredgecolor='black',
                label=f'{name}: {result.mIoU:.2f}',
                linestyle='none',
                zorder=3,
            )
        if level is not None:
            label = f"config's own: {level:.2f}"
            axis.axhline(level, color='gray', linestyle='--', lw=1, label=label)
        parts = [f'{n} {value_text(v)}' for n, v in zip(panel_names, key)]
        axis.set_title(', '.join(parts), fontsize='medium')
        axis.set_xlabel(x_name)
        axis.set_ylabel('mIoU / %')
        axis.label_outer()
        axis.grid(alpha=0.3)
        if ticks is not None:
            axis.set_xticks(list(ticks.values()), [value_text(value) for value in ticks])
    for axis in list(grid):
        axis.set_visible(False)
    handles: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    marks = sorted(handles, key=lambda label: ':' in label)  # after the lines
    figure.legend(
        [handles[label] for label in marks], marks, loc='outside right upper', fontsize='small'
    )
    figure.suptitle(title, fontsize='medium')
    figure.savefig(path, dpi=200)


def _axes(results: Sequence[SettingResult]) -> tuple[str, list[str]]:
    """The setting to be drawn as x, and all that vary; None has no place on an axis."""
    names = [name for name in _AXES if name in varied(results)] or ['prob_thd']
    numeric = [n for n in names if all(getattr(r.setting, n) is not None for r in results)]
    return (numeric or names)[0], names


def _stands_alone(own: SettingResult, results: Sequence[SettingResult]) -> bool:
    """Whether a setting has a value, other than its x, that no other has."""
    others = [result.setting for result in results if result is not own]
    x_name, names = _axes(results)
    return bool(others) and any(
        getattr(own.setting, name) not in {getattr(setting, name) for setting in others}
        for name in names
        if name != x_name
    )


def _groups(results: Sequence[SettingResult], names: Sequence[str]) -> dict[tuple, list]:
    """Results by the values of some settings, in ascending order, and within by all of them."""
    groups: dict[tuple, list] = {}
    for result in sorted(results, key=lambda r: [_order(value) for value in r.setting]):
        groups.setdefault(tuple(getattr(result.setting, name) for name in names), []).append(result)
    return dict(sorted(groups.items(), key=lambda item: [_order(value) for value in item[0]]))


def _order(value) -> tuple:
    return value is not None, value or 0.0
