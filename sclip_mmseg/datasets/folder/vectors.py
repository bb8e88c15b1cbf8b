"""Labels as polygons on Earth, for example in a GeoPackage."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...rasters.comparing import grid_of
from ...rasters.grid import Grid
from ...rasters.ground import Ground
from ...utils.errors import InputError, first_line
from .readers import UNKNOWN, Reading

#: Extensions of files of polygons.
VECTORS = frozenset(('.gpkg', '.fgb', '.geojson', '.shp'))
_USUAL = 'class'  # the attribute in outputs of this package


@dataclass(frozen=True)
class VectorReader:
    """Draws polygons on the grid of their image, later ones of the file over earlier ones.

    Attributes:
        classes: Value of the attribute, as text in lower case → class.
        ignored: Ignored values; polygons without a value are ignored too.
        unlabelled: Label of pixels without a polygon.
        ignore_index: Label of ignored pixels.
        attribute: Name of the attribute; None for ``class``.
    """

    classes: Mapping[str, int]
    ignored: Collection[str]
    unlabelled: int
    ignore_index: int
    attribute: str | None = None

    def read(self, info: Mapping[str, Any]) -> Reading:
        """See :class:`.readers.LabelReader`."""
        from rasterio.features import rasterize

        grid = grid_of(info['img_path'])
        values, shapes = self._polygons(info['seg_map_path'], grid, info['img_path'])
        table = {**dict.fromkeys(['', *self.ignored], self.ignore_index), **self.classes}
        words = {value: _word(value) for value in values}
        unknown = [value for value, word in words.items() if word not in table]
        if not len(shapes):
            return Reading(np.full(grid.whole.size, self.unlabelled, np.int32))
        classes = rasterize(
            zip(shapes, (table.get(words[value], UNKNOWN) for value in values)),
            grid.whole.size,
            fill=self.unlabelled,
            transform=_transform(grid),
            dtype='int32',
        )
        return Reading(classes, [f'{self.attribute or _USUAL} {value!r}' for value in unknown])

    def _polygons(self, path: str, grid: Grid, image: str) -> tuple[list[Any], np.ndarray]:
        """Read the attribute and the polygons, in coordinates of the image (pixels with GCPs)."""
        import pyogrio
        import shapely
        from pyproj import CRS, Transformer

        attribute = self.attribute or _USUAL
        try:
            layers = [name for name, kind in pyogrio.list_layers(path) if kind]
            if len(layers) != 1:
                listed = ', '.join(layers) or 'none'
                raise InputError(
                    f'label {path} has the layers {listed}: save one layer of polygons as a file'
                )
            about = pyogrio.read_info(path, layer=layers[0])
            if attribute not in about['fields']:
                raise InputError(
                    f"label {path} has no attribute '{attribute}': name the one with the classes "
                    f'by --label-attribute (label_attribute), of {", ".join(about["fields"])}'
                )
            found = pyogrio.raw.read(path, layer=layers[0], columns=[attribute])
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
            raise InputError(f'label {path} cannot be read: {first_line(error)}') from error
        shapes, values = shapely.from_wkb(found[2]), found[3][0].tolist()
        if (about['crs'] is None) != (grid.crs is None):
            crs = about['crs'] or 'no CRS'
            other = grid.crs.to_string() if grid.crs else 'none'
            raise InputError(f'label {path} has {crs}, its image {image} has {other}')
        if grid.crs is not None and CRS.from_user_input(grid.crs) != CRS(about['crs']):
            change = Transformer.from_crs(about['crs'], grid.crs.to_wkt(), always_xy=True)
            shapes = shapely.transform(shapes, lambda xy: np.stack(change.transform(*xy.T), 1))
        if grid.crs is not None and grid.gcps:
            ground = Ground(grid)
            if ground.crs is None:
                raise InputError(f'{image} has too few ground control points to draw {path}')
            shapes = shapely.transform(shapes, ground.pixels)
        kept = [
            number
            for number, (value, shape) in enumerate(zip(values, shapes))
            if shape is not None and not shape.is_empty
        ]
        return [values[number] for number in kept], shapes[kept]


def _word(value: Any) -> str:
    """The value of an attribute as text in lower case; empty for null."""
    if value is None or value != value:  # null of text or of numbers
        return ''
    # Ids become floats in a column with nulls.
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value).strip().lower()


def _transform(grid: Grid) -> Any:
    from rasterio import Affine

    if grid.crs is None or grid.gcps:
        return Affine.identity()  # polygons are in pixels, from GCPs or as this package writes them
    return grid.transform or Affine.identity()
