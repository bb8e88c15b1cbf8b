"""Label maps as GeoTIFFs, written block by block."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as xml

import numpy as np

from ..utils.files import replacing, write_atomically
from .grid import Block, Grid
from .result import Reader, no_data_label

if TYPE_CHECKING:
    from rasterio.windows import Window

    from ..apis.writers.base import ClassInfo

_TILE = 512  # side of a tile in the file, in pixels
_BLOCK = 4 * _TILE  # side of a block that is read at once, in pixels
_SMALLEST = 256  # side of the smallest overview, in pixels
_CACHE = 128  # MiB of GDAL's cache
_NAME, _EXACT, _RED = 2, 5, 6  # GDAL's usages of an attribute column


def window_of(block: Block) -> Window:
    """Convert a block to rasterio's window."""
    from rasterio.windows import Window

    height, width = block.size
    return Window(block.left, block.top, width, height)


def blocks_of(grid: Grid) -> Iterator[Block]:
    """The blocks of a map, row by row."""
    for top in range(0, grid.height, _BLOCK):
        for left in range(0, grid.width, _BLOCK):
            yield Block(top, left, min(top + _BLOCK, grid.height), min(left + _BLOCK, grid.width))


def write_label_raster(
    path: Path,
    grid: Grid,
    classes: Sequence[ClassInfo],
    read: Reader,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write a label map as a tiled GeoTIFF that shows colours and names in a GIS.

    It contains the ids of the classes in 8 bits or, for large ids, 16, and overviews. Pixels
    without a class have the no-data value 255 or 65535; empty tiles are not stored. Names are in
    ``PATH.aux.xml``.

    Args:
        path: File to write or replace.
        grid: Grid of the map.
        classes: The K classes.
        read: Function that reads classes, 0 to K - 1, or :func:`.result.no_data_label` of K.
        tags: Metadata, such as how the map was read.

    Raises:
        OSError: If the file cannot be written.
    """
    ids = [each.id for each in classes]
    no_data = no_data_label(max(ids) + 1)
    table = np.full(1 + no_data_label(len(ids)), no_data, np.min_scalar_type(no_data))
    table[: len(ids)] = ids
    colors = {each.id: (*each.color, 255) for each in classes}
    with replacing(path) as part:
        colors[no_data] = (0,) * 4
        write_raster(part, grid, lambda block: table[read(block)], no_data, colors, tags)
        written = Path(f'{part}.aux.xml')  # GDAL's metadata that TIFF cannot store
        write_atomically(Path(f'{path}.aux.xml'), _describe(classes, written))


def write_raster(
    path: Path,
    grid: Grid,
    read: Reader,
    no_data: int,
    colors: Mapping[int, tuple[int, ...]] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write a raster with one band and overviews.

    Args:
        path: Path of the new file.
        grid: Its size and georeference.
        read: Function that reads integers of 8 bits, or 16 if ``no_data`` is larger.
        no_data: The no-data value.
        colors: Value → RGBA.
        tags: Metadata.

    Raises:
        OSError: If the file cannot be written.
    """
    import rasterio
    from rasterio.crs import CRS
    from rasterio.enums import Resampling
    from rasterio.errors import NotGeoreferencedWarning

    place: dict[str, Any] = dict(crs=grid.crs)
    if grid.gcps:
        place = dict(gcps=grid.gcps, crs=grid.crs or CRS())
    elif grid.transform is not None:
        place['transform'] = grid.transform
    side = max(grid.width, grid.height)
    factors = [2**n for n in range(1, 16) if side > _SMALLEST * 2 ** (n - 1)]
    with warnings.catch_warnings(), rasterio.Env(GDAL_CACHEMAX=_CACHE):
        warnings.simplefilter('ignore', NotGeoreferencedWarning)
        with rasterio.open(
            *(path, 'w', 'GTiff', grid.width, grid.height, 1),
            dtype='uint8' if no_data <= 255 else 'uint16',
            nodata=no_data,
            tiled=True,
            blockxsize=_TILE,
            blockysize=_TILE,
            compress='deflate',
            sparse_ok=True,
            bigtiff='if_safer',
            **({'photometric': 'palette'} if colors else {}),
            **place,
        ) as file:
            file.update_tags(**(tags or {}))
            if colors:
                file.write_colormap(1, colors)
            for block in blocks_of(grid):
                values = read(block)
                if (values != no_data).any():
                    file.write(values, 1, window=window_of(block))
        with rasterio.Env(SPARSE_OK_OVERVIEW=True), rasterio.open(path, 'r+') as file:
            file.build_overviews(factors, Resampling.nearest)


def _describe(classes: Sequence[ClassInfo], beside: Path) -> bytes:
    """Content of the ``.aux.xml``: what GDAL wrote, and the names and colours of the classes."""
    root = xml.parse(beside).getroot() if beside.exists() else xml.Element('PAMDataset')
    band = xml.SubElement(root, 'PAMRasterBand', band='1')
    by_id = {each.id: each for each in classes}
    names = xml.SubElement(band, 'CategoryNames')
    for number in range(max(by_id) + 1):
        xml.SubElement(names, 'Category').text = by_id[number].name if number in by_id else ''
    table = xml.SubElement(band, 'GDALRasterAttributeTable', tableType='thematic')
    columns = dict(Value=(0, _EXACT), Class=(2, _NAME))
    columns |= {name: (0, _RED + n) for n, name in enumerate(('Red', 'Green', 'Blue'))}
    for index, (name, (kind, usage)) in enumerate(columns.items()):
        column = xml.SubElement(table, 'FieldDefn', index=str(index))
        for key, value in dict(Name=name, Type=kind, Usage=usage).items():
            xml.SubElement(column, key).text = str(value)
    for index, each in enumerate(classes):
        row = xml.SubElement(table, 'Row', index=str(index))
        for value in (each.id, each.name, *each.color):
            xml.SubElement(row, 'F').text = str(value)
    return xml.tostring(root, 'utf-8')
