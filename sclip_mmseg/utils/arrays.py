"""Arrays in NumPy's ``.npz`` files, which may be damaged or of another kind."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .file_kinds import DAMAGED, NPZ, kind_of

_LARGEST = 1 << 31  # bytes


def read_arrays(
    path: Path, names: Sequence[str], what: str, optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Read arrays of an ``.npz`` file, in native byte order.

    Args:
        path: Path of a regular file.
        names: Names of the arrays.
        what: Description of the file for error messages.
        optional: Names of further arrays, which the file may lack.

    Raises:
        InputError: If the file is of another kind, damaged or forged, or lacks an array.
    """
    try:
        kind = kind_of(path)
        if kind is not NPZ:
            raise InputError(
                f'{what} is not an .npz file with {_list(names)}, but {kind.description}'
            )
        with zipfile.ZipFile(path) as archive:
            held = archive.namelist()
            members = {name: f'{name}.npy' for name in (*names, *optional) if f'{name}.npy' in held}
            if missing := [name for name in names if name not in members]:
                raise InputError(f'{what} has no array {_list(missing)}')
            size = sum(archive.getinfo(member).file_size for member in members.values())
            if size > _LARGEST:
                raise InputError(
                    f'{what} claims to hold arrays of {size / 2**30:.1f} GiB, at most '
                    f'{_LARGEST >> 30} GiB are read'
                )
            return {name: _read(archive.read(member)) for name, member in members.items()}
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f'{what} cannot be read as an .npz file ({error})') from error


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of a compressed ``.npz`` file with the given arrays."""
    content, members = io.BytesIO(), dict[str, Any](arrays)
    np.savez_compressed(content, **members)
    return content.getvalue()


def _read(data: bytes) -> np.ndarray:
    array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    return array.astype(array.dtype.newbyteorder('='), copy=False)


def _list(names: Sequence[str]) -> str:
    return ', '.join(f"'{name}'" for name in names)
