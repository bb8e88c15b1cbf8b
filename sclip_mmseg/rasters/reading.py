"""Reading of maps block by block, as 8-bit RGB."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import mmcv
import numpy as np
from PIL import Image

from ..utils.errors import InputError, first_line
from .grid import Block, read_grid

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

#: Colour of pixels without data: the mean colour in CLIP's normalisation.
FILL = 123, 117, 104
_CACHE = 256  # MB of GDAL's cache of decoded blocks
_LONGEST = 1024  # longer side of the reduced map from which percentiles are computed
_PLAIN = {'gray', 'undefined'}
Bands = str | Sequence[int]
Stretch = str | tuple[float, float]


class Raster:
    """An open map.

    Args:
        path: Path of the file.
        bands: Numbers, from 1, of the red, green and blue band, such as ``'4,3,2'``, or of a single
            grey band; None to use the file's colour tags.
        stretch: Values that are mapped to 0 and 255, such as ``'0,3000'``, or percentiles of the
            whole map, such as ``'P2,P98'``, the default unless values have 8 bits.
        driver: GDAL's name of the only permitted format; None for all formats.

    Attributes:
        grid: Pixel grid of the map.
        bands: Numbers of the bands that are read, three or one.
        dtype: Data type of the stored values.

    Raises:
        InputError: If the file cannot be read, its bands are ambiguous, or an argument is invalid.
    """

    def __init__(
        self,
        path: str | Path,
        bands: Bands | None = None,
        stretch: Stretch | None = None,
        driver: str | None = None,
    ):
        self.path = path
        asked = None if stretch is None else parse_stretch(stretch)
        self._file = open_dataset(path, driver)
        try:
            self.grid = read_grid(self._file)
            self.bands = _choose_bands(self._file, bands)
            self._colours = _read_colours(self._file, self.bands)
            kinds = [self._file.dtypes[band - 1] for band in self.bands]
            self.dtype = np.dtype(kinds[0])
            if len({*kinds}) > 1:
                raise InputError(
                    f'{path} has bands of different types ({", ".join(kinds)}): convert them to '
                    'the same type'
                )
            if self.dtype.kind not in 'uif':
                raise InputError(f'{path} contains {self.dtype} values: only real numbers are read')
            flags = (self._file.mask_flag_enums[band - 1] for band in self.bands)
            places = 0, self.bands[0]  # the file and a band
            self._structure = {
                key: value
                for place in places
                for key, value in self._file.tags(place, ns='IMAGE_STRUCTURE').items()
            }
            self._masked = any({flag.name for flag in each} != {'all_valid'} for each in flags)
            self._asked = asked
        except BaseException:
            self._file.close()
            raise

    @cached_property
    def stretch(self) -> tuple[float, float] | None:
        """Values that are mapped to 0 and 255; None for unchanged 8-bit values."""
        if self._asked is None and self.dtype == np.uint8:
            bits = int(self._structure.get('NBITS', 8))
            return None if bits == 8 or self._colours is not None else (0.0, 2.0**bits - 1)
        kind, low, high = self._asked or ('P', 2.0, 98.0)
        return self._percentiles(low, high) if kind == 'P' else (low, high)

    @property
    def stretch_words(self) -> str:
        """Explanation of :attr:`stretch` for messages; empty if it was given as two values."""
        kind, low, high = self._asked or ('P', 2, 98)
        if kind != 'P' or (self._asked is None and self.dtype == np.uint8):
            return ''
        return f', percentiles {low:g} and {high:g} of the whole map (--stretch MIN,MAX overrides)'

    @property
    def tags(self) -> dict[str, str]:
        """How the map is read, for the metadata of its label map."""
        tags = dict(SCLIP_BANDS=self.bands, SCLIP_STRETCH=self.stretch)
        return {key: ','.join(map(str, values)) for key, values in tags.items() if values}

    def read(
        self, block: Block | None = None, size: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read a block.

        Args:
            block: The block; None for the whole map.
            size: Height and width to which it is reduced by nearest neighbour; None for full size.

        Returns:
            RGB image, uint8 ``[h, w, 3]``, with :data:`FILL` for pixels without data; and the mask
            of pixels with data, bool ``[h, w]``.

        Raises:
            InputError: If the file is damaged.
        """
        values, valid = self._values(block, size)
        if self._colours is not None:
            image = self._colours[values[0]]
        else:
            if self.stretch is not None:
                values = _to_bytes(values, *self.stretch)
            if self._structure.get('MINISWHITE') == 'YES':
                values = 255 - values
            image = np.repeat(values, 3, 0) if len(values) == 1 else values
            image = np.ascontiguousarray(image.transpose(1, 2, 0))
        if not valid.all():
            image[~valid] = FILL
        return image, valid

    def valid(self, block: Block) -> np.ndarray:
        """Mask of the pixels of a block with data, bool ``[h, w]``; raises as :meth:`read`."""
        if self._masked or self.dtype.kind == 'f':
            return self._values(block, None)[1]
        return np.ones(block.size, bool)

    def _values(
        self, block: Block | None, size: tuple[int, int] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The stored values of the bands, ``[1 or 3, h, w]``, and the mask of pixels with data."""
        from rasterio import Env
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        block = block or self.grid.whole
        place = Window(block.left, block.top, block.size[1], block.size[0])
        shape = None if size is None else (len(self.bands), *size)
        try:
            with Env(GDAL_CACHEMAX=_CACHE):
                values = self._file.read(self.bands, window=place, out_shape=shape)
                valid = np.ones(values.shape[1:], bool)
                if self._masked:
                    masks = self._file.read_masks(self.bands, window=place, out_shape=shape)
                    valid = (masks != 0).any(0)
        except (RasterioError, OSError) as error:
            raise InputError(
                f'{self.path} is damaged ({_reason(error)}): download or export it again'
            ) from error
        if values.dtype.kind == 'f':
            valid &= np.isfinite(values).all(0)
        return values, valid

    def _percentiles(self, low: float, high: float) -> tuple[float, float]:
        """Percentiles over all bands, from a reduced version of the whole map."""
        height, width = self.grid.height, self.grid.width
        step = max(max(height, width) / _LONGEST, 1)
        values, valid = self._values(None, (round(height / step) or 1, round(width / step) or 1))
        found = values[:, valid]
        if not found.size:
            return 0.0, 1.0
        ends = np.percentile(found.astype(np.float64), [low, high]).tolist()
        return ends[0], ends[1] if ends[1] > ends[0] else ends[0] + max(1, abs(ends[0]))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Raster:
        """Return the open map."""
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()


open_raster = Raster


def read_pixels(path: str, options: Mapping[str, Any] | None = None) -> np.ndarray:
    """Read an image file as RGB, uint8 ``[H, W, 3]``.

    Args:
        path: Path of the file.
        options: For a map, keyword arguments of :class:`Raster`; None for other images.
    """
    if options is None:
        return np.ascontiguousarray(mmcv.imread(path)[..., ::-1])
    with open_raster(path, **options) as raster:
        return raster.read()[0]


def read_size(path: str, options: Mapping[str, Any] | None = None) -> tuple[int, int]:
    """Read the width and height of an image file; arguments as of :func:`read_pixels`."""
    if options is None:
        with Image.open(path) as image:
            return image.size
    with open_dataset(path) as file:
        return file.width, file.height


def parse_stretch(stretch: Stretch) -> tuple[str, float, float]:
    """Parse ``'MIN,MAX'``, two numbers, or percentiles such as ``'P2,P98'``.

    Returns:
        ``'P'`` for percentiles or an empty string; and the two ends.

    Raises:
        InputError: If it is anything else.
    """
    text = stretch if isinstance(stretch, str) else ','.join(map(str, stretch))
    parts = [re.fullmatch(r'\s*(P?)\s*(\S+?)\s*', part, re.IGNORECASE) for part in text.split(',')]
    try:
        (kind, low), (other, high) = (part.groups() for part in parts if part)
        kind, ends = kind.upper(), (float(low), float(high))
        fits = kind == other.upper() and -np.inf < ends[0] < ends[1] < np.inf
        if fits and len(parts) == 2 and (not kind or 0 <= ends[0] < ends[1] <= 100):
            return kind, *ends
    except ValueError:
        pass
    raise InputError(
        f"stretch='{text}' (--stretch) must be two ascending values, as in '0,3000', or "
        "percentiles, as in 'P2,P98'"
    )


def parse_bands(bands: Bands) -> list[int]:
    """Parse the numbers of three bands, or of one.

    Raises:
        InputError: If ``bands`` is anything else.
    """
    listed = bands.split(',') if isinstance(bands, str) else list(bands)
    words = [str(each).strip() for each in listed]
    if len(words) not in (1, 3) or not all(word.isdecimal() and int(word) for word in words):
        raise InputError(
            f"bands='{','.join(words)}' (--bands) must be the numbers, from 1, of red, green and "
            "blue, as in '4,3,2', or of one grey band"
        )
    return list(map(int, words))


def open_dataset(path: str | Path, driver: str | None = None) -> DatasetReader:
    """Open a file by rasterio.

    Raises:
        InputError: If it cannot be read as a map, or has no bands.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', NotGeoreferencedWarning)
            file = rasterio.open(path, driver=driver)
    except (RasterioError, OSError) as error:
        raise InputError(f'{path} cannot be read as a map ({_reason(error)})') from error
    if not file.count:
        file.close()
        raise InputError(f'{path} has no bands: convert one of its subdatasets to a file')
    return file


def _reason(error: BaseException) -> str:
    """GDAL's error message in one line."""
    return first_line(error.__cause__ or error)


def _choose_bands(file: DatasetReader, asked: Bands | None) -> list[int]:
    """Numbers of the red, green and blue band, or of a single band with grey or palette values."""
    if asked is not None:
        bands = parse_bands(asked)
        if max(bands) > file.count:
            raise InputError(
                f'bands={asked} (--bands) is out of range: {file.name} has {file.count} bands, '
                f'{_list(file)}'
            )
        return bands
    tags = [tag.name for tag in file.colorinterp]
    named = [tags.index(name) + 1 for name in ('red', 'green', 'blue') if tags.count(name) == 1]
    if len(named) == 3:
        return named
    rest = [number for number, tag in enumerate(tags, 1) if tag != 'alpha']
    plain = {tags[number - 1] for number in rest} <= _PLAIN
    if len(rest) == 1 or (len(rest) == 3 and plain):
        return rest
    raise InputError(
        f'{file.name} does not state which of its bands are red, green and blue: give them as in '
        f"bands='3,2,1' (--bands), or a single grey band. It has {_list(file)}"
    )


def _list(file: DatasetReader) -> str:
    """List the bands with their tags, descriptions and types."""
    parts = zip(file.colorinterp, file.descriptions, file.dtypes)
    return ', '.join(
        f'{number} {tag.name}{f" {text!r}" if text else ""} {dtype}'
        for number, (tag, text, dtype) in enumerate(parts, 1)
    )


def _read_colours(file: DatasetReader, bands: list[int]) -> np.ndarray | None:
    """RGB of each value of a palette, uint8 ``[values, 3]``; None without a palette."""
    if len(bands) > 1 or file.colorinterp[bands[0] - 1].name != 'palette':
        return None
    try:
        table = file.colormap(bands[0])
    except ValueError as error:
        raise InputError(
            f'{file.name} has palette values but no palette: save it with its colours'
        ) from error
    colours = np.zeros((np.iinfo(file.dtypes[bands[0] - 1]).max + 1, 3), np.uint8)
    colours[list(table)] = [colour[:3] for colour in table.values()]
    return colours


def _to_bytes(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map values from ``low`` … ``high`` linearly to 0 … 255, uint8, with clipping."""
    real = values.astype(np.result_type(values, np.float32))
    real -= low
    real *= 255 / (high - low)
    np.rint(real, out=real)
    return np.nan_to_num(real, copy=False, nan=0).clip(0, 255, out=real).astype(np.uint8)
