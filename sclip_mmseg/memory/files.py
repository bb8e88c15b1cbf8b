"""The files of a bank of this package.

``keys.npy``, ``values.npy`` and ``areas.npy`` hold one row per region, float16; ``bank.json`` holds
the settings that they were built with, and the images. During a build, ``parts/`` holds one file
per image.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ..registry import type_name
from ..towers import find_clip
from ..towers.proxy import find_proxy
from ..utils.errors import InputError, shorten
from ..utils.files import make_folder, sha256_of, write_atomically
from .cfg import MemoryCfg
from .ivf_index import write_ivf_index

INFO, PARTS, VERSION = 'bank.json', 'parts', 2
# At least about a patch, at the network's size of the image. Finer ones gain little and cost time.
REGIONS = dict(type='Felzenszwalb', min_size=128, short_side=224)
_NAMES = 'keys', 'values', 'areas', 'second'


@dataclass
class BankInfo:
    """Description of a bank.

    Attributes:
        made_by: Settings of the models, see :func:`describe_models`.
        regions: Config of the generator of its regions; None if they were read from files.
        settings: How images were resized and cut into windows.
        images: Name, digest of the file and number of regions of each image, in order of rows.
        version: Version of this format.
    """

    made_by: dict[str, Any]
    regions: dict[str, Any] | None
    settings: dict[str, Any]
    images: list[tuple[str, str, int]] = field(default_factory=list)
    version: int = VERSION

    @property
    def count(self) -> int:
        """Number of regions."""
        return sum(number for *_, number in self.images)


def describe_models(
    encoder: Mapping[str, Any], tower: str | None, block: int | None, second: str | None = None
) -> dict[str, Any]:
    """Settings that a bank's numbers depend on, with files as their SHA-256.

    Args:
        encoder: Config of the image encoder.
        tower: Checkpoint of the second tower for the keys; None for ``block``.
        block: Block of CLIP for the keys.
        second: A second CLIP; None for none.

    Raises:
        InputError: If a file does not exist.
    """
    clip = find_clip(encoder['clip'], encoder.get('quick_gelu'))
    proxy = (encoder.get('proxy') or {}).get('checkpoint')
    method = json.loads(json.dumps(encoder['method'], default=_type_name_of))
    return dict(
        clip=sha256_of(clip.weights),
        quick_gelu=encoder.get('quick_gelu'),
        round_weights=encoder.get('round_weights'),
        method=method,
        proxy=proxy and sha256_of(find_proxy(proxy).weights),
        keys=_describe_tower(tower) if tower else dict(block=block),
        second=second and sha256_of(find_clip(second).weights),
    )


def _describe_tower(tower: str) -> dict[str, str]:
    path = Path(tower).expanduser()
    found = str(path.absolute()) if path.exists() else tower  # valid from any folder
    return dict(tower=found, sha256=sha256_of(find_proxy(tower).weights))


def _type_name_of(value: Any) -> str:
    """The name of a class in a config."""
    return type_name(dict(type=value))


def check_models(made_by: Mapping[str, Any], found: Mapping[str, Any], bank: str) -> None:
    """Refuse a bank built with another model; paths of its files do not matter.

    Raises:
        InputError: If the bank was built with another model.
    """
    for key, value in made_by.items():
        if _without_name(found.get(key)) != _without_name(value):
            raise InputError(
                f'{bank} was built with another model, whose {key} was {_shorten(value)}, here '
                f'{_shorten(found.get(key))}: use that model, or build a bank with this one '
                '(sclip bank build)'
            )


def _without_name(value: Any) -> Any:
    return {**value, 'tower': ''} if isinstance(value, dict) else value


def _shorten(value: Any) -> str:
    return shorten(json.dumps(value), 80)


def read_info(folder: Path) -> BankInfo:
    """Read the description of a bank.

    Raises:
        InputError: If the folder is not a bank, or its file is damaged or of another version.
    """
    path = folder / INFO
    try:
        info = BankInfo(**json.loads(path.read_text(encoding='utf-8')))
        info.images = [(str(name), str(digest), int(n)) for name, digest, n in info.images]
    except OSError as error:
        raise InputError(f'{folder} is not a bank: it has no {INFO} ({error.strerror})') from error
    except (ValueError, TypeError) as error:
        raise InputError(f'{path} is damaged, or from another program ({error})') from error
    if info.version != VERSION:
        raise InputError(
            f'{path} is of version {info.version}, expected {VERSION}: build the bank again'
        )
    return info


def bank_regions(memory: Mapping[str, Any]) -> dict[str, Any]:
    """Config of the generator of a bank's regions; :data:`REGIONS` if they came from files.

    Raises:
        InputError: If ``model.memory`` does not name a bank, or the bank is damaged.
    """
    folder = Path(MemoryCfg(**memory).bank).expanduser()
    found = read_info(folder).regions if (folder / INFO).is_file() else None
    return found or REGIONS.copy()


def read_rows(folder: Path, info: BankInfo) -> list[Tensor]:
    """Read the rows of a bank.

    Returns:
        Keys ``[N, C]``, values ``[N, D]``, areas as shares of the image ``[N, 1]``, and the values
        of a second CLIP if there is one, float16 each.

    Raises:
        InputError: If a file is missing, damaged or too short, or the bank has no regions.
    """
    if not info.count:
        raise InputError(f'{folder} holds no regions: build it from images that have some')
    names = _NAMES if info.made_by.get('second') else _NAMES[:-1]
    return [torch.from_numpy(_read(folder, name, info.count)) for name in names]


def _read(folder: Path, name: str, count: int) -> np.ndarray:
    path = folder / f'{name}.npy'
    try:
        rows = np.load(path, mmap_mode='c', allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f'{path} is missing or damaged ({error}): build the bank again') from error
    if rows.ndim != 2 or rows.dtype != np.float16 or len(rows) < count:
        raise InputError(f'{path} does not hold {count} rows of float16: build the bank again')
    return rows[:count]


def write_part(folder: Path, digest: str, *rows: Tensor) -> None:
    """Write the rows of an image to a bank's parts; for the rows see :func:`read_rows`."""
    found = {name: each.half().cpu().contiguous() for name, each in zip(_NAMES, rows)}
    write_atomically(_part(folder, digest), save(found))


def _part(folder: Path, digest: str) -> Path:
    return folder / PARTS / f'{digest}.safetensors'


class BankWriter:
    """Assembles a bank from parts, which any number of processes write in any order.

    Args:
        folder: Folder of the bank, created if missing.
        info: Description of the bank; its images are set to those of the folder.

    Raises:
        InputError: If the folder holds a bank of other models or settings, or something else, or
            cannot be written to.
    """

    def __init__(self, folder: Path, info: BankInfo):
        self.folder, self.parts = folder, folder / PARTS
        started = folder / PARTS / INFO
        begun = any(self.parts.glob('*.safetensors'))  # if not, another model may begin
        for path in (folder / INFO, started):
            if path.is_file() and (begun or path != started):
                old = read_info(path.parent)
                check_models(old.made_by, info.made_by, str(folder))
                others = dict(regions=old.regions, settings=old.settings)
                mine = dict(regions=info.regions, settings=info.settings)
                check_models(others, json.loads(json.dumps(mine)), str(folder))
                info.images = info.images or old.images
        if folder.is_dir() and not (folder / INFO).is_file() and not started.is_file():
            if any(folder.iterdir()):
                raise InputError(f'{folder} holds something else: name another folder by --out')
        make_folder(self.parts, 'name another folder by --out')
        self.info = info
        self.known = {digest for _, digest, _ in info.images}
        unfinished = json.dumps({**asdict(info), 'images': []})
        write_atomically(started, unfinished.encode())

    def has(self, digest: str) -> bool:
        """Whether an image is in the bank or its parts."""
        return digest in self.known or _part(self.folder, digest).is_file()

    def finish(self, names: Mapping[str, str]) -> BankInfo:
        """Append the parts of images to the bank's rows, and remove the parts.

        If the process is killed, the bank is unchanged, and another build completes it.

        Args:
            names: Digest of each image → its name, in the order of the rows.

        Returns:
            Description of the bank.
        """
        found = {}
        for digest in names:
            if digest not in self.known and _part(self.folder, digest).is_file():
                try:
                    found[digest] = load_file(_part(self.folder, digest))
                except SafetensorError:  # truncated by a full disk
                    _part(self.folder, digest).unlink()
        images = [*self.info.images]
        images += [(names[digest], digest, len(rows['keys'])) for digest, rows in found.items()]
        info = BankInfo(self.info.made_by, self.info.regions, self.info.settings, images)
        if found:
            for name in min(found.values(), key=len):
                self._append(name, [rows[name].numpy() for rows in found.values()])
        if info.count:
            write_ivf_index(self.folder, _read(self.folder, 'keys', info.count))
        write_atomically(self.folder / INFO, json.dumps(asdict(info)).encode())
        shutil.rmtree(self.parts)
        return info

    def _append(self, name: str, parts: list[np.ndarray]) -> None:
        if self.info.count:
            parts = [_read(self.folder, name, self.info.count), *parts]
        path = self.folder / f'{name}.npy'
        temporary = path.with_name(f'{path.name}.tmp')
        shape = sum(map(len, parts)), parts[0].shape[1]
        rows = np.lib.format.open_memmap(temporary, 'w+', np.float16, shape)
        np.concatenate(parts, out=rows)
        rows.flush()
        del rows
        os.replace(temporary, path)
