"""Files of coarse score maps, from which further settings can be evaluated."""

import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from ..models.axes import WindowAxis
from ..models.fusion import RegionCells, WindowMaps
from ..utils.errors import InputError
from ..utils.files import make_folder, write_atomically


class MapFiles:
    """Reads and writes one file of maps per image.

    Args:
        folder: Folder of the files, created if missing.

    Raises:
        InputError: If the folder cannot be written to.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        make_folder(folder, 'choose another --work-dir')

    def path(self, index: int) -> Path:
        """Path of an image's maps."""
        return self.folder / f'{index:06d}.safetensors'

    def save(self, index: int, maps: WindowMaps) -> None:
        """Write the maps of an image.

        Raises:
            InputError: If they cannot be written.
        """
        axes = torch.tensor([[*axis[:4], *axis.margins, axis.align_corners] for axis in maps.axes])
        tensors = dict(cells=maps.cells.contiguous(), axes=axes)
        if maps.support is not None:
            tensors.update(ranks=maps.support.ranks.contiguous(), values=maps.support.values)
        content = save(tensors)
        write_atomically(self.path(index), content)

    def load(self, index: int, device: torch.device) -> WindowMaps | None:
        """Read the maps of an image; None if there are none, or if they are damaged."""
        try:
            tensors = load(self.path(index).read_bytes())
            cells, axes = tensors['cells'], tensors['axes'].tolist()
        except (SafetensorError, KeyError, OSError):
            return None
        rows, columns = (
            WindowAxis._make([*axis[:4], tuple(axis[4:6]), any(axis[6:])]) for axis in axes
        )
        maps = WindowMaps(cells.to(device), (rows, columns))
        if 'ranks' in tensors:
            maps.support = RegionCells(tensors['ranks'].to(device), tensors['values'].to(device))
        return maps

    def check_space(self, size: int, count: int) -> str:
        """Check that there is disk space for the maps of a number of images.

        Args:
            size: Bytes per image.
            count: Number of images.

        Returns:
            A text with the needed and the free space.

        Raises:
            InputError: If there is not enough space.
        """
        free = shutil.disk_usage(self.folder).free
        words = f'about {_bytes(size * count)} for the maps of {count} images'
        if size * count > free:
            raise InputError(
                f'{self.folder} needs {words}, but {_bytes(free)} are free: choose a --work-dir on '
                'a larger disk, or pass --no-maps'
            )
        return f'{words} ({_bytes(size)} each), {_bytes(free)} are free'


def _bytes(count: float) -> str:
    for unit in ('B', 'kB', 'MB'):
        if count < 1000:
            return f'{count:.3g} {unit}'
        count /= 1000
    return f'{count:.1f} GB'
