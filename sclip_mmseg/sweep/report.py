"""The results of a sweep as a table, CSV files and a plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.files import write_csv
from .grid import Setting, ascending
from .loop import SettingResult

#: Printed below every table that shows a best setting.
CAUTION = (
    'The best setting was chosen on the labels it is scored on: its mIoU is tuned on this split, '
    'and not comparable with numbers that were not. For a fair number, choose the setting on other '
    'images (--cfg-options test_dataloader.dataset.ann_file=…) and evaluate it here once.'
)
_MOST_ROWS = 40
_AXES = ('prob_thd', 'background', 'logit_scale', 'area_thd')  # the first that varies is the x axis


def write(results: Sequence[SettingResult], own: Setting, title: str, folder: Path) -> None:
    """Print and write the table, and draw the plot.

    Args:
        results: Results of all settings.
        own: The config's own setting.
        title: Title of the plot.
        folder: An existing folder.
    """
    write_tables(results, own, folder)
    draw(results, own, title, folder / 'sweep.png')
    best = best_of(results)
    print(f'\n{len(results)} settings:\n')
    print(to_text(results, own))
    if best.setting != own:
        print(f'\nBest setting: --cfg-options {best.setting.options(own)}')
    print(f'\n{CAUTION}\n\n{folder.resolve()}/{{sweep.csv,classes.csv,sweep.png}}')


def best_of(results: Sequence[SettingResult]) -> SettingResult:
    """The result with the highest unrounded mIoU; the first of equal ones."""
    return max(results, key=lambda result: (result.mIoU == result.mIoU, result.mIoU))


def varied(results: Sequence[SettingResult]) -> list[str]:
    """Names of the settings that have more than one value."""
    settings = [result.setting for result in results]
    return [n for n in Setting._fields if len({getattr(s, n) for s in settings}) > 1]


def to_text(results: Sequence[SettingResult], own: Setting) -> str:
    """Format a table of the varied values and the metrics, with the own and the best one marked.

    Of more than 40 settings, only the best ones are shown.
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


def write_tables(results: Sequence[SettingResult], own: Setting, folder: Path) -> None:
    """Write ``sweep.csv``, a line per setting, and ``classes.csv``, a line per setting and class.

    Args:
        results: Results in the order of the lines.
        own: The config's own setting.
        folder: An existing folder.
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
    write_csv(folder / 'sweep.csv', lines)
    write_csv(folder / 'classes.csv', classes)


def value_text(value: float | None) -> str:
    """Format a value of a setting."""
    return 'none' if value is None else f'{value:g}'


def draw(results: Sequence[SettingResult], own: Setting, title: str, path: Path) -> None:
    """Draw mIoU against one setting, a line per value of the next and a panel per value of others.

    The config's own setting is a dashed line, the best a star.

    Args:
        results: Results of all settings.
        own: The config's own setting.
        title: Title above the panels.
        path: Path of the image file; its extension determines the format.
    """
    import matplotlib
    from matplotlib.figure import Figure

    best = best_of(results)
    [level] = [result.mIoU for result in results if result.setting == own]
    points = _on_the_grid(results, own, _x_axis(results))
    x_name = _x_axis(points)
    others = [name for name in _AXES if name in varied(points) and name != x_name]
    line_name, panel_names = others[0] if others else None, others[1:]
    panels = _groups(points, panel_names)
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(1.2 + 3.6 * columns, 0.9 + 2.9 * rows), layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat
    keys = _groups(points, [line_name] if line_name else [])
    shades = matplotlib.colormaps['viridis'](np.linspace(0, 0.9, len(keys)))
    colors = dict(zip(keys, shades))
    # None cannot be drawn on a numeric axis.
    convert = value_text if any(getattr(p.setting, x_name) is None for p in points) else float
    x_of = lambda result: convert(getattr(result.setting, x_name))  # noqa: E731
    for axis, (key, members) in zip(grid, panels.items()):
        for line, each in _groups(members, [line_name] if line_name else []).items():
            label = f'{line_name} {value_text(line[0])}' if line_name else None
            heights = [result.mIoU for result in each]
            axis.plot([*map(x_of, each)], heights, '.-', color=colors[line], label=label)
        if best in members:
            x, y = [x_of(best)], [best.mIoU]
            axis.plot(x, y, 'k*', markersize=10, label=f'best: {best.mIoU:.2f}', linestyle='none')
        axis.axhline(level, color='gray', linestyle='--', lw=1, label=f"config's own: {level:.2f}")
        parts = [f'{name} {value_text(value)}' for name, value in zip(panel_names, key)]
        axis.set_title(', '.join(parts), fontsize='medium')
        axis.set(xlabel=x_name, ylabel='mIoU / %')
        axis.label_outer()
        axis.grid(alpha=0.3)
    for axis in list(grid):
        axis.set_visible(False)
    handles: dict[str, Any] = {}
    for axis in figure.axes:
        handles.update(zip(*reversed(axis.get_legend_handles_labels())))
    labels = sorted(handles, key=lambda label: ':' in label)  # the lines first
    shown = [handles[label] for label in labels]
    figure.legend(shown, labels, loc='outside right upper', fontsize='small')
    figure.suptitle(title, fontsize='medium')
    figure.savefig(path, dpi=200)


def _x_axis(results: Sequence[SettingResult]) -> str:
    """The first varied setting, preferably one without None."""
    names = [name for name in _AXES if name in varied(results)] or ['prob_thd']
    return min(names, key=lambda name: any(getattr(r.setting, name) is None for r in results))


def _on_the_grid(
    results: Sequence[SettingResult], own: Setting, x_name: str
) -> list[SettingResult]:
    """Leave the config's own result out if it would be a separate line or panel."""
    others = [result for result in results if result.setting != own]
    names = [name for name in Setting._fields if name != x_name]
    known = {name: {getattr(other.setting, name) for other in others} for name in names}
    alone = others and any(getattr(own, name) not in known[name] for name in names)
    return others if alone else list(results)


def _groups(results: Sequence[SettingResult], names: Sequence[str]) -> dict[tuple, list]:
    """Group results by the values of some settings; groups and members in ascending order."""
    groups: dict[tuple, list] = {}
    for result in sorted(results, key=lambda result: ascending(result.setting)):
        groups.setdefault(tuple(getattr(result.setting, name) for name in names), []).append(result)
    return dict(sorted(groups.items(), key=lambda item: ascending(item[0])))
