"""What a sweep keeps of each image: its coarse maps, and its areas by each setting."""

import json
import os
import shutil
from pathlib import Path
from typing import Callable, Dict, List, Optional
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..engine.settings import Settings, list_changes
from ..models.fusion import WindowAxis, WindowMaps
from ..utils.errors import InputError, join_first
from ..utils.files import make_folder
from .grid import Setting

SettingAreas = Dict[Setting, np.ndarray]
"""Setting → pixels per class of one image, int32 ``[4, K]``, in the order of the metric."""


class Store:
    """Files of a sweep, two per image, each written as a whole or not at all.

    Args:
        folder: Made when missing.
        settings: What maps and areas depend on, besides the settings that are swept.

    Raises:
        InputError: If the folder cannot be written to.
    """

    def __init__(self, folder: Path, settings: Settings):
        self.folder = folder
        self.settings = settings
        for name in ('maps', 'areas'):
            make_folder(folder / name, 'choose another --work-dir')

    def open(self) -> List[str]:
        """Compare what the kept files depend on with what holds at present.

        Returns:
            What may have changed last digits: sentences.

        Raises:
            InputError: If the files belong to another evaluation, or it cannot be told.
        """
        path = self.folder / 'settings.json'
        if not path.is_file():
            text = json.dumps(self.settings, indent=1)
            self._write(path, lambda temporary: temporary.write_text(text, encoding='utf-8'))
            return []
        try:
            kept = json.loads(path.read_text(encoding='utf-8'))
        except ValueError as error:
            raise InputError(
                f'{path} cannot be read ({error}): remove {self.folder} to start afresh'
            ) from error
        severe, slight = list_changes(kept, self.settings)
        if severe:
            raise InputError(
                f'{self.folder} keeps another evaluation, {join_first(severe)}: choose '
                'another --work-dir, or remove that folder to start afresh'
            )
        return slight

    def maps_path(self, index: int) -> Path:
        """File of an image's maps."""
        return self.folder / f'maps/{index:06d}.safetensors'

    def areas_path(self, index: int) -> Path:
        """File of an image's areas."""
        return self.folder / f'areas/{index:06d}.npz'

    def save_maps(self, index: int, maps: WindowMaps) -> None:
        """Keep the maps of an image.

        Raises:
            InputError: If they cannot be written.
        """
        axes = torch.tensor([[*axis[:4], *axis.margins] for axis in maps.axes])
        tensors = dict(cells=maps.cells.contiguous(), axes=axes)
        self._write(self.maps_path(index), lambda temporary: save_file(tensors, temporary))

    def load_maps(self, index: int, device: torch.device) -> Optional[WindowMaps]:
        """Read the maps of an image; None where none are kept.

        Raises:
            InputError: If the file is damaged.
        """
        path = self.maps_path(index)
        if not path.is_file():
            return None
        try:
            tensors = load_file(path)
            cells, axes = tensors['cells'], tensors['axes'].tolist()
        except (SafetensorError, KeyError, OSError) as error:
            raise InputError(f'{path} is damaged ({error}): remove it to make it anew') from error
        rows, columns = (WindowAxis(*axis[:4], tuple(axis[4:])) for axis in axes)
        return WindowMaps(cells.to(device), (rows, columns))

    def save_areas(self, index: int, areas: SettingAreas) -> None:
        """Keep the areas of an image, in place of those kept before.

        Raises:
            InputError: If they cannot be written.
        """
        swept = np.array(list(areas), dtype=np.float64)  # None becomes NaN

        def write(temporary: Path) -> None:
            with open(temporary, 'wb') as file:
                np.savez(file, swept=swept, areas=np.stack(list(areas.values())))

        self._write(self.areas_path(index), write)

    def load_areas(self, index: int) -> SettingAreas:
        """Read the areas of an image; empty where none are kept.

        Raises:
            InputError: If the file is damaged.
        """
        path = self.areas_path(index)
        if not path.is_file():
            return {}
        try:
            with np.load(path, allow_pickle=False) as file:
                swept, areas = file['swept'].tolist(), file['areas']
        except (KeyError, ValueError, OSError, EOFError, BadZipFile) as error:
            raise InputError(f'{path} is damaged ({error}): remove it to make it anew') from error
        keys = (Setting(*(None if value != value else value for value in row)) for row in swept)
        return dict(zip(keys, areas))

    def check_space(self, size: int, count: int) -> str:
        """Check that maps of a size, in bytes, of so many images have room.

        Returns:
            What they take and what is free, in words.

        Raises:
            InputError: If they have none.
        """
        free = shutil.disk_usage(self.folder).free
        words = f'about {_bytes(size * count)} for the maps of {count} images'
        if size * count > free:
            raise InputError(
                f'{self.folder} needs {words}, but {_bytes(free)} are free: choose a --work-dir on '
                'a larger disk, or keep no maps by --no-maps'
            )
        return f'{words} ({_bytes(size)} each), {_bytes(free)} are free'

    def _write(self, path: Path, write: Callable[[Path], object]) -> None:
        temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
        try:
            write(temporary)
            os.replace(temporary, path)
        except (OSError, SafetensorError) as error:
            temporary.unlink(missing_ok=True)
            raise InputError(
                f'{path} cannot be written ({error}): make room and give the same command again, '
                'which goes on from here'
            ) from error


def _bytes(count: float) -> str:
    for unit in ('B', 'kB', 'MB'):
        if count < 1000:
            return f'{count:.3g} {unit}'
        count /= 1000
    return f'{count:.1f} GB'
