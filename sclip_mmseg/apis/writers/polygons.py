"""Polygons for geographic information systems."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import ClassVar

import numpy as np

from ...rasters.grid import Grid
from ...rasters.ground import Ground
from ...rasters.polygons import check_packages, find_polygons
from ...rasters.result import SegmentedMap
from ...registry import WRITERS
from ...utils.errors import InputError, join_first
from ...utils.files import replacing
from ..inputs import POLYGONS
from .base import ClassInfo, Item, MapItem, Pairs, Place, Writer

_FORMATS = 'geopackage', 'geojson', 'fgb'
_DECIMALS = 9  # decimals of degrees: a tenth of a millimetre


class PolygonsWriter(Writer):
    """Writes ``NAME_polygons`` with class, id, area and mean confidence of each connected part.

    Without a CRS, as for ordinary images, coordinates are pixels.

    Args:
        simplify: Tolerance in metres for smoothing borders between classes; 0 for none.
        min_area: Square metres below which polygons are left out.

    Raises:
        InputError: If an option is invalid, or a package is missing.
    """

    needs_scores = True
    for_maps = True
    driver: ClassVar[str]
    suffix: ClassVar[str]

    def __init__(self, simplify: float = 0, min_area: float = 0) -> None:
        for name, value in dict(simplify=simplify, min_area=min_area).items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (number and 0 <= value < inf):
                raise InputError(f'{name}={value!r} of polygons must be a number not below 0')
        check_packages()
        self.simplify, self.min_area = simplify, min_area

    def write(self, item: Item) -> bool:
        """See :class:`.base.Writer`; returns whether polygons are in pixels."""
        return self._write(item, item.result.as_map(), item.result.classes)

    def write_map(self, item: MapItem) -> bool:
        """See :class:`.base.Writer`; returns whether polygons are in pixels."""
        return self._write(item, item.found, item.classes)

    def finish(self, records: Pairs, classes: Sequence[ClassInfo], out: Path) -> None:
        """Warn about polygons in pixels."""
        if names := [record.file for record, in_pixels in records if in_pixels]:
            warnings.warn(
                f'without a CRS, polygons in .{self.suffix} are in pixels: {join_first(names)}',
                stacklevel=2,
            )

    def _write(self, item: Place, found: SegmentedMap, classes: Sequence[ClassInfo]) -> bool:
        import shapely
        from pyogrio.errors import DataLayerError, DataSourceError, FeatureError
        from pyogrio.raw import write

        crs = Ground(found.grid).crs
        key = 'polygons', self.simplify, self.min_area
        if key not in item.shared:
            parts = (
                (shapely.to_wkb(part.shapes), part.classes, part.areas, part.confidence)
                for part in find_polygons(found, self.simplify, self.min_area)
            )
            item.shared[key] = [np.concatenate(each) for each in zip(*parts)]
        geometry, numbers, areas, confidence = item.shared[key]
        names, ids = (np.array([getattr(each, key) for each in classes]) for key in ('name', 'id'))
        fields = {
            'class': names[numbers].astype(object),
            'id': ids[numbers],
            'pixels' if crs is None else 'area_m2': areas,
            'confidence': confidence,
        }
        path = item.file(f'{POLYGONS}.{self.suffix}')
        try:
            with replacing(path) as part, warnings.catch_warnings():
                warnings.filterwarnings('ignore', "'crs' was not provided")
                write(
                    *(part, geometry, list(fields.values()), list(fields)),
                    layer=path.stem,
                    driver=self.driver,
                    geometry_type='Polygon',
                    crs=crs and crs.to_wkt(),
                    layer_options=self.options(found.grid),
                )
        except (DataLayerError, DataSourceError, FeatureError) as error:
            raise OSError(str(error)) from error
        return crs is None

    def options(self, grid: Grid) -> dict[str, str]:
        """Layer options for GDAL's driver."""
        return {}


@WRITERS.register_module('geopackage')
class GeoPackageWriter(PolygonsWriter):
    """Writes ``NAME_polygons.gpkg``."""

    driver, suffix = 'GPKG', 'gpkg'


@WRITERS.register_module('fgb')
class FlatGeobufWriter(PolygonsWriter):
    """Writes ``NAME_polygons.fgb``."""

    driver, suffix = 'FlatGeobuf', 'fgb'


@WRITERS.register_module('geojson')
class GeoJSONWriter(PolygonsWriter):
    """Writes ``NAME_polygons.geojson``, in WGS 84 (RFC 7946) if there is a CRS of the Earth."""

    driver, suffix = 'GeoJSON', 'geojson'

    def options(self, grid: Grid) -> dict[str, str]:
        """See :class:`PolygonsWriter`."""
        numbers = dict(ID_GENERATE='YES')  # else readers use the field id, which is the class's
        if not Ground(grid).has_degrees:
            return numbers
        return dict(numbers, RFC7946='YES', COORDINATE_PRECISION=str(_DECIMALS))


def polygon_options(formats: str, options: Mapping[str, float | None]) -> dict[str, float]:
    """Expand options of polygons to those of :func:`.build.build_writers`.

    Args:
        formats: Names of formats, separated by commas.
        options: Option → value, None if it is not given.

    Returns:
        Options by dotted keys, for each format of polygons in ``formats``.

    Raises:
        InputError: If an option is given, and no format has polygons.
    """
    given = {key: value for key, value in options.items() if value is not None}
    names = {*_FORMATS}.intersection(name.strip() for name in formats.split(','))
    if given and not names:
        listed = ' and '.join(f'--{key.replace("_", "-")}' for key in given)
        raise InputError(f'{listed}: add one of {", ".join(_FORMATS)} to --format')
    return {f'{name}.{key}': value for name in names for key, value in given.items()}
