"""Conversion of the ids in label maps."""

import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy.io import loadmat, whosmat

from ...utils.errors import InputError
from .archives import Entry

_UNKNOWN = -1


class UnknownIds(InputError):
    """A label map has another label set or numbering."""


def map_file(source: Entry, table: np.ndarray) -> np.ndarray:
    """Read a label map and replace its ids.

    Args:
        source: An image file.
        table: See :func:`map_ids`.

    Raises:
        InputError: See :func:`map_ids`.
    """
    return map_ids(np.array(Image.open(io.BytesIO(source.read()))), table, source)


def map_ids(label: np.ndarray, table: np.ndarray, source: object) -> np.ndarray:
    """Replace the ids of a label map.

    Args:
        label: Numbers ``[H, W]``.
        table: See :func:`id_table`.
        source: Source of the label map, for error messages.

    Returns:
        Label map with the new ids, uint8 ``[H, W]``.

    Raises:
        InputError: If it is not one number per pixel.
        UnknownIds: If it has ids that are not in the table.
    """
    if label.ndim != 2 or label.dtype.kind not in 'buif':
        raise InputError(
            f'{source} is not a label map of one number per pixel: {label.shape}, {label.dtype}'
        )
    found = np.unique(label)
    known = np.flatnonzero(table != _UNKNOWN)
    strange = found[~np.isin(found, known)]
    if len(strange):
        raise UnknownIds(
            f'{source} holds ids {strange[:5].tolist()}, which these label maps do not have: they '
            'are another label set, or numbered otherwise'
        )
    return table[label.astype(np.int64)].astype(np.uint8)


def read_variable(source: Entry, name: str) -> np.ndarray:
    """Read an array of a MATLAB file.

    Raises:
        InputError: If the variable does not exist, or is too large for an image.
    """
    content = io.BytesIO(source.read())
    shapes = {variable: shape for variable, shape, _ in whosmat(content)}
    if math.prod(shapes.get(name, ())) > Image.MAX_IMAGE_PIXELS:
        raise InputError(f'{source} claims to hold an image of {shapes[name]} pixels')
    array = loadmat(content, variable_names=[name]).get(name)
    if not isinstance(array, np.ndarray):
        raise InputError(f'{source} cannot be read: it holds no label map {name}')
    return array


def id_table(
    ids: Sequence[int], others: Sequence[int], first: int = 0, other: int = 255
) -> np.ndarray:
    """Make a table that numbers ids in the given order.

    Args:
        ids: Ids that become classes.
        others: Other known ids; all remaining ids are unknown.
        first: New id of the first class.
        other: New id of all ``others``.

    Returns:
        Old id → new id, -1 for unknown ids, int16, as long as the largest id requires.
    """
    table = np.full(max(*ids, *others, 0) + 1, _UNKNOWN, dtype=np.int16)
    table[list(others)] = other
    table[list(ids)] = np.arange(first, first + len(ids))
    return table
