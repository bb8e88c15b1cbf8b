"""The writers of a run."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from ...custom import import_module
from ...rasters.grid import Grid
from ...registry import WRITERS
from ...utils.errors import InputError, nearest
from ...utils.images import most_pixels
from ...utils.spelling import arguments
from . import areas, coco, confidence, cvat, labels, labelstudio, masks, overlay, polygons, yolo  # noqa: F401
from .base import ClassInfo, Item, MapItem, Pairs, Record, Writer

Formats = str | Sequence[str | Mapping[str, Any]]
DEFAULT = 'overlay', 'labels'
ALWAYS = 'areas'


def build_writers(
    formats: Formats = DEFAULT, options: Mapping[str, Any] | None = None
) -> dict[str, Writer]:
    """Build the writers of the requested formats, and that of the table of areas.

    Args:
        formats: Names (a list, or a text separated by commas), or configs such as
            ``dict(type='overlay', legend='none')``. A format of your own is named
            ``my_package.my_module:name``, with its name in the registry ``WRITERS``.
        options: Options by dotted keys, such as ``{'overlay.legend': 'none'}``.

    Returns:
        Writers by name.

    Raises:
        InputError: If a format, option or package does not exist.
    """
    listed = formats.split(',') if isinstance(formats, str) else formats
    if not isinstance(listed, Sequence) or not all(isinstance(x, (str, Mapping)) for x in listed):
        raise InputError("formats must be as in 'overlay,coco' or ['overlay', dict(type='coco')]")
    configs: dict[str, dict[str, Any]] = {}
    for given in (*listed, ALWAYS):
        config = {'type': given} if isinstance(given, str) else dict(given)
        module, _, name = str(config.pop('type', '')).strip().rpartition(':')
        if module:
            import_module(module)
        configs[name] = configs.get(name, {}) | config
    for key, value in (options or {}).items():
        name, _, option = key.partition('.')
        if name not in configs:
            raise InputError(f"option '{key}' belongs to none of the formats {', '.join(configs)}")
        configs[name][option] = value
    return {name: _build(name, config) for name, config in configs.items()}


def _build(name: str, config: Mapping[str, Any]) -> Writer:
    kind = WRITERS.get(name) if name else None
    if kind is None:
        known = sorted(WRITERS.module_dict)
        guess = nearest(name, known) or f': choose from {", ".join(known)}'
        raise InputError(f"format '{name}' does not exist{guess}")
    allowed = arguments(kind)[0]
    for key in config:
        if key not in allowed:
            guess = nearest(key, allowed) or f': it has {", ".join(allowed) or "none"}'
            raise InputError(f"format {name} has no option '{key}'{guess}")
    return kind(**config)


def check_size(writers: Mapping[str, Writer], path: Path, grid: Grid) -> None:
    """Check that a map can be written in all formats.

    Raises:
        InputError: If it is too large for a format that needs it in memory.
    """
    limit = most_pixels()
    small = [name for name, writer in writers.items() if not writer.for_maps]
    if small and grid.width * grid.height > limit:
        raise InputError(
            f'{path} has more than {limit // 10**6} million pixels, too many for '
            f'{", ".join(small)}: leave that out of --format (formats)'
        )


def write_all(writers: Mapping[str, Writer], item: Item | MapItem) -> Record:
    """Write an image or map in all formats.

    Returns:
        The record of the image or map.

    Raises:
        OSError: If a file cannot be written.
    """
    if isinstance(item, MapItem):
        record = start_record(item.path, item.name, item.found.grid.whole.size, item.found.counts)
        record.data = {name: writer.write_map(item) for name, writer in writers.items()}
    else:
        height, width = item.result.labels.shape
        record = start_record(item.path, item.name, (height, width), item.result.counts)
        record.data = {name: writer.write(item) for name, writer in writers.items()}
    record.files = item.made
    return record


def start_record(
    path: Path, name: PurePath, size: tuple[int, int], pixels: Sequence[int]
) -> Record:
    """Create the record of an image or video before anything is written."""
    return Record(str(path), name.with_name(path.name).as_posix(), size, pixels)


def finish_all(
    writers: Mapping[str, Writer],
    records: Iterable[Record],
    classes: Sequence[ClassInfo],
    out: Path,
) -> None:
    """Write the files of a run in all formats.

    Raises:
        OSError: If a file cannot be written.
    """
    for name, writer in writers.items():
        writer.finish(Pairs(records, name), classes, out)
