"""Readers of several kinds of labels."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ...rasters.detecting import is_map, reads_maps
from ...utils.errors import InputError, first_line
from ...utils.images import UNREADABLE
from .color_table import Color

UNKNOWN = -1
_LISTED, _COLORS = 5, 40  # most ids and most colours that a message lists


@dataclass
class Reading:
    """Content of a label.

    Attributes:
        classes: Class of each pixel, int32 ``[H, W]``: 0 to K - 1, the ignore index, or -1 for
            values without a class.
        unknown: Descriptions of values without a class, such as ``id 7``.
    """

    classes: np.ndarray
    unknown: list[str] = field(default_factory=list)


class ColoredLabelError(InputError):
    """A label has colours instead of ids, and there is no table of colours.

    Args:
        labels: Description of the files.
        colors: Colours of their pixels, most frequent first.
    """

    def __init__(self, labels: str, colors: Sequence[Color]):
        listed = '; '.join(','.join(map(str, color)) for color in colors[:_COLORS])
        more = f' and {len(colors) - _COLORS} more' if colors[_COLORS:] else ''
        super().__init__(
            f'colours instead of ids in {labels} ({listed}{more}): give a table of them, a text '
            'file with lines as road: 128,64,128, by --colors (colors=FILE)'
        )
        self.colors = colors


class LabelReader(Protocol):
    """Protocol of a reader of labels."""

    def read(self, info: Mapping[str, Any]) -> Reading:
        """Read the label of a sample.

        Args:
            info: The dataset's info of the image.

        Raises:
            InputError: If the label cannot be read, or has another format.
        """
        ...


@dataclass(frozen=True)
class IdReader:
    """Reads PNG and TIFF files of ids, with 8 or 16 bits, with or without a palette.

    Attributes:
        classes: Id → class.
        ignored: Ignored ids.
        ignore_index: Label of ignored pixels.
    """

    classes: Mapping[int, int]
    ignored: Collection[int]
    ignore_index: int

    def read(self, info: Mapping[str, Any]) -> Reading:
        """See :class:`LabelReader`."""
        path, no_data = info['seg_map_path'], None
        if reads_maps() and is_map(path):
            label, no_data = _read_map(path)
        else:
            label = read_pixels(path)
        if label.ndim > 2:
            raise ColoredLabelError(path, list_colors(label[..., :3].reshape(-1, 3)))
        if label.dtype.kind not in 'bui':
            raise InputError(f'{path} holds {label.dtype} values, expected ids, which are integers')
        label, table = label.astype(np.int64), self._table()
        if no_data is not None:
            label[no_data] = next(iter(table))
        reading = _look_up(label, table, 'id {}'.format)
        if no_data is not None:
            reading.classes[no_data] = self.ignore_index
        return reading

    def _table(self) -> dict[int, int]:
        return {**dict.fromkeys(self.ignored, self.ignore_index), **self.classes}


@dataclass(frozen=True)
class ColorReader:
    """Reads RGB masks.

    Attributes:
        classes: Colour → class.
        ignored: Ignored colours.
        ignore_index: Label of ignored pixels.
        names: Colour → name in the table, for messages.
    """

    classes: Mapping[Color, int]
    ignored: Collection[Color]
    ignore_index: int
    names: Mapping[Color, str] = field(default_factory=dict)

    def read(self, info: Mapping[str, Any]) -> Reading:
        """See :class:`LabelReader`."""
        pixels = read_pixels(info['seg_map_path'], as_colors=True).astype(np.int64)
        codes = _code(pixels.transpose(2, 0, 1))
        table = {_code(color): self.ignore_index for color in self.ignored}
        table.update({_code(color): index for color, index in self.classes.items()})
        return _look_up(codes, table, self._name)

    def _name(self, code: int) -> str:
        color = (code >> 16, code >> 8 & 255, code & 255)
        named = f" ('{self.names[color]}')" if color in self.names else ''
        return f'colour {",".join(map(str, color))}{named}'


@dataclass(frozen=True)
class MaskReader:
    """Reads masks of one class, with values 0 and 1, or black and white with a threshold of 128.

    Attributes:
        ignore_index: Label of pixels of 255 in masks of 0 and 1.
    """

    ignore_index: int

    def read(self, info: Mapping[str, Any]) -> Reading:
        """See :class:`LabelReader`."""
        path = info['seg_map_path']
        pixels = read_pixels(path)
        pixels = pixels if pixels.ndim == 2 else pixels[..., 0]
        values = set(np.unique(pixels).tolist())
        exact = not path.lower().endswith(('.jpg', '.jpeg'))  # JPEG changes values
        if 1 in values and values <= {0, 1, 255} and exact:
            return _look_up(pixels.astype(np.int64), {0: 0, 1: 1, 255: self.ignore_index}, str)
        if 0 < max(values) < 128 or not values <= {*range(256)}:
            made = ' (ids that were saved as JPEG are not kept: use the original mask)'
            raise InputError(
                f'{path} holds values from {min(values)} to {max(values)}, expected 0 and 1, or a '
                f'black and white mask{"" if exact else made}'
            )
        return Reading((pixels >= 128).astype(np.int32))


@dataclass(frozen=True)
class InstanceReader:
    """Draws COCO's instances, later ones of the file over earlier ones.

    Attributes:
        classes: Category → class, or the ignore index.
        unlabelled: Label of pixels without an instance.
        names: Category → name.
    """

    classes: Mapping[int, int]
    unlabelled: int
    names: Mapping[int, str]

    def read(self, info: Mapping[str, Any]) -> Reading:
        """See :class:`LabelReader`."""
        width, height = info['label_size']
        classes = np.full((height, width), self.unlabelled, np.int32)
        unknown = {}
        for category, segmentation in info['segments']:
            inside = _decode(segmentation, height, width, info)
            classes[inside] = self.classes.get(category, UNKNOWN)
            if category not in self.classes:
                unknown[category] = _name_category(category, self.names)
        return Reading(classes, list(unknown.values()))


@dataclass(frozen=True)
class PanopticReader:
    """Reads PNGs of COCO's panoptic segments.

    Attributes:
        classes, unlabelled, names: See :class:`InstanceReader`.
    """

    classes: Mapping[int, int]
    unlabelled: int
    names: Mapping[int, str]

    def read(self, info: Mapping[str, Any]) -> Reading:
        """See :class:`LabelReader`."""
        pixels = read_pixels(info['seg_map_path'], as_colors=True).astype(np.int64)
        ids = pixels[..., 0] | pixels[..., 1] << 8 | pixels[..., 2] << 16
        categories = {segment: category for category, segment in info['segments']}
        table = {segment: self.classes.get(categories[segment], UNKNOWN) for segment in categories}

        def name(segment: int) -> str:
            if segment not in categories:
                return f'segment {segment}, which segments_info lacks,'
            return _name_category(categories[segment], self.names)

        return _look_up(ids, {0: self.unlabelled, **table}, name)


def read_pixels(path: str, as_colors: bool = False) -> np.ndarray:
    """Read the values of a label file.

    Args:
        path: The file.
        as_colors: Whether to convert palettes and greyscale to RGB.

    Returns:
        Values ``[H, W]`` or ``[H, W, C]``; uint8 ``[H, W, 3]`` with ``as_colors``.

    Raises:
        InputError: If the file cannot be read.
    """
    try:
        with Image.open(path) as file:
            return np.array(file.convert('RGB') if as_colors else file)
    except UNREADABLE as error:
        raise InputError(f'label {path} cannot be read: {error}') from error


def _read_map(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the ids of a label raster, ``[H, W]`` (or ``[H, W, C]``), and its mask of no data.

    Whole numbers stored as floats, as GIS programs do, become integers.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                values, no_data = file.read(), (file.read_masks() == 0).all(0)
    except rasterio.errors.RasterioError as error:
        raise InputError(f'label {path} cannot be read: {first_line(error)}') from error
    if values.dtype.kind == 'f':
        no_data |= ~np.isfinite(values).all(0)
        values[:, no_data] = 0
        whole = values.astype(np.int64)
        values = whole if (whole == values).all() else values
    return (values[0] if len(values) == 1 else values.transpose(1, 2, 0)), no_data


def list_colors(pixels: np.ndarray) -> list[Color]:
    """The different colours of pixels ``[N, 3]``, most frequent first."""
    found, counts = np.unique(pixels, axis=0, return_counts=True)
    return [tuple(color.tolist()) for color in found[np.argsort(-counts, kind='stable')]]


def _code(color: Any) -> Any:
    """Pack red, green and blue, numbers or arrays, into one number."""
    return color[0] << 16 | color[1] << 8 | color[2]


def _look_up(stored: np.ndarray, table: Mapping[int, int], name: Any) -> Reading:
    """Replace values by those of a table; others become :data:`UNKNOWN`."""
    if stored.size and 0 <= stored.min() and stored.max() < 1 << 16:
        found = np.flatnonzero(np.bincount(stored.ravel()))
        lookup = np.full(stored.max() + 1, UNKNOWN, np.int32)
        lookup[found] = [table.get(value, UNKNOWN) for value in found.tolist()]
        classes = lookup[stored]
    else:
        found, places = np.unique(stored, return_inverse=True)
        values = np.array([table.get(value, UNKNOWN) for value in found.tolist()], np.int32)
        classes = values[places].reshape(stored.shape)
    unknown = [value for value in found.tolist() if table.get(value, UNKNOWN) == UNKNOWN]
    words = list(dict.fromkeys(map(name, unknown[:_LISTED])))
    more = [f'{len(unknown) - _LISTED} more'] if len(unknown) > _LISTED else []
    return Reading(classes, words + more)


def _name_category(category: int, names: Mapping[int, str]) -> str:
    return (
        f"category {category} ('{names[category]}')"
        if category in names
        else f'category {category}'
    )


def _decode(segmentation: Any, height: int, width: int, info: Mapping[str, Any]) -> np.ndarray:
    """Decode the pixels of an instance, bool ``[H, W]``.

    Raises:
        InputError: If it is neither polygons nor run lengths, or pycocotools is missing.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise InputError(
            'COCO labels need pycocotools: pip install "sclip_mmseg[coco]" (or pycocotools)'
        ) from error
    try:
        if isinstance(segmentation, list):
            if not segmentation:
                return np.zeros((height, width), bool)
            lengths = mask.merge(mask.frPyObjects(segmentation, height, width))
        elif isinstance(segmentation['counts'], list):
            lengths = mask.frPyObjects(segmentation, height, width)
        else:
            lengths = segmentation
        inside = mask.decode(lengths).astype(bool)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f'an instance of {info["img_path"]} in {info["seg_map_path"]} is neither polygons nor '
            f'run lengths ({error})'
        ) from error
    if inside.shape != (height, width):
        raise InputError(
            f'an instance of {info["img_path"]} in {info["seg_map_path"]} has run lengths of '
            f'{inside.shape[1]}×{inside.shape[0]} pixels, its image is {width}×{height}'
        )
    return inside
