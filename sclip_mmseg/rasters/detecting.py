"""Detection of maps without rasterio."""

import importlib.util
from contextlib import suppress
from pathlib import Path

from ..utils.errors import InputError
from ..utils.images import tiff_tags

#: Suffixes of files that are always maps.
ONLY_MAPS = {'.vrt'}
#: Suffixes of TIFF files.
TIFF = {'.tif', '.tiff'}
# Tags of GeoTIFF: scale, tie points, matrix, keys; GDAL's no-data value.
_TAGS = {33550, 33922, 34264, 34735, 42113}
# UUID of GeoJP2's box, and the beginning of GML in a JPEG 2000 file.
_JPEG_2000 = bytes.fromhex('b14bf8bd083d4b43a5ae8cd7d5a6ce03'), b'gml.root-instance'
_HEAD = 1 << 16


def reads_maps() -> bool:
    """Whether the extra ``[maps]`` is installed."""
    return importlib.util.find_spec('rasterio') is not None


def has_georeference(path: str | Path) -> bool:
    """Whether a file's header has a georeference or a no-data value.

    A world file or GDAL's ``.aux.xml`` beside the file counts as well.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in ONLY_MAPS or _has_world_file(path):
        return True
    if suffix in TIFF:
        with suppress(OSError), path.open('rb') as file:
            return bool(_TAGS & tiff_tags(file).keys())
    if suffix == '.jp2':
        with suppress(OSError), path.open('rb') as file:
            head = file.read(_HEAD)
            return any(mark in head for mark in _JPEG_2000)
    return False


def is_map(path: str | Path, asked: bool = False) -> bool:
    """Whether a file is read as a map: block by block, with georeference and no-data values.

    Args:
        path: The file.
        asked: Whether every TIFF is treated as a map.

    Raises:
        InputError: If the file is a map, but the extra ``[maps]`` is not installed.
    """
    if not has_georeference(path) and not (asked and Path(path).suffix.lower() in TIFF):
        return False
    if not reads_maps():
        raise InputError(
            f"{path} is a map, for which you need: pip install 'sclip_mmseg[maps]' (it has a "
            'georeference, other bands than RGB, or too many pixels for the memory)'
        )
    return True


def _has_world_file(path: Path) -> bool:
    suffix = path.suffix.lower()
    ends = {f'{suffix[:2]}{suffix[-1:]}w', f'{suffix}w', '.wld'}
    ends |= {end.upper() for end in ends}
    if suffix and any(path.with_suffix(end).is_file() for end in ends):
        return True
    with suppress(OSError):
        text = Path(f'{path}.aux.xml').read_bytes()[:_HEAD]
        return any(mark in text for mark in (b'<SRS', b'<GeoTransform', b'<GCPList'))
    return False
