"""The writers of a run."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from PIL import Image

from ...custom import import_module
from ...rasters.grid import Grid
from ...registry import WRITERS
from ...utils.errors import InputError, nearest
from ...utils.spelling import arguments
from . import areas, coco, confidence, cvat, labels, labelstudio, masks, overlay, polygons, yolo  # noqa: F401
from .base import ClassInfo, Item, MapItem, Pairs, Record, Writer

Formats = str | Sequence[str | Mapping[str, Any]]
DEFAULT = 'overlay', 'labels'
ALWAYS = 'areas'


def build_writers(
    formats: Formats = DEFAULT, options: Mapping[str, Any] | None = None
) -> dict[str, Writer]:
    """Build what writes the formats asked for, and the table of areas.

    Args:
        formats: Names (or a text of them, separated by commas), or configs such as
            ``dict(type='overlay', legend='none')``. One of your own is named
            ``my_package.my_module:name``, by the name that it is registered by in ``WRITERS``.
        options: Options by dotted keys, such as ``{'overlay.legend': 'none'}``.

    Returns:
        Writers by their names.

    Raises:
        InputError: If there is no such format, option or package.
    """
    listed = formats.split(',') if isinstance(formats, str) else formats
    if not isinstance(listed, Sequence) or not all(isinstance(x, (str, Mapping)) for x in listed):
        raise InputError("formats are not as in 'overlay,coco' or ['overlay', dict(type='coco')]")
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
            raise InputError(f"option '{key}' is of no format of {', '.join(configs)}")
        configs[name][option] = value
    return {name: _build(name, config) for name, config in configs.items()}


def _build(name: str, config: Mapping[str, Any]) -> Writer:
    kind = WRITERS.get(name) if name else None
    if kind is None:
        known = sorted(WRITERS.module_dict)
        guess = nearest(name, known) or f': use some of {", ".join(known)}'
        raise InputError(f"format '{name}' does not exist{guess}")
    allowed = arguments(kind)[0]
    for key in config:
        if key not in allowed:
            guess = nearest(key, allowed) or f': it has {", ".join(allowed) or "none"}'
            raise InputError(f"format {name} has no option '{key}'{guess}")
    return kind(**config)


def check_size(writers: Mapping[str, Writer], path: Path, grid: Grid) -> None:
    """See that a map can be written in all formats.

    Raises:
        InputError: If it is too large for one that holds it in memory.
    """
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
    small = [name for name, writer in writers.items() if not writer.for_maps]
    if small and 0 < limit < grid.width * grid.height:
        raise InputError(
            f'{path} has more than {limit // 10**6} million pixels, and would be held in memory '
            f'for {", ".join(small)}: leave that out of --format (formats)'
        )


def write_all(writers: Mapping[str, Writer], item: Item | MapItem) -> Record:
    """Write a picture or map in all formats.

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
    """The record of a picture or video of which nothing is written yet."""
    return Record(str(path), name.with_name(path.name).as_posix(), size, pixels)


def finish_all(
    writers: Mapping[str, Writer],
    records: Iterable[Record],
    classes: Sequence[ClassInfo],
    out: Path,
) -> None:
    """Write the files of a run in all formats, videos left out where a format has none.

    Raises:
        OSError: If a file cannot be written.
    """
    for name, writer in writers.items():
        writer.finish(Pairs(records, name), classes, out)
