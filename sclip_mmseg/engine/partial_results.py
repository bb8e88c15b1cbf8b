"""Results of the images that an unfinished evaluation has done, in a file per process."""

import json
import os
from pathlib import Path
from typing import Dict, Tuple
from zipfile import BadZipFile

import numpy as np

from ..utils.errors import InputError
from .settings import Settings

Areas = Dict[int, np.ndarray]
"""Index of an image in the dataset → pixels per class, int32 ``[4, K]``."""


def write_areas(path: Path, settings: Settings, areas: Areas) -> None:
    """Write images' areas; a process killed meanwhile leaves the file as it was.

    Args:
        path: The file. Its folder is made when missing.
        settings: What the areas depend on.
        areas: Of at least one image.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    with open(temporary, 'wb') as file:
        np.savez(
            file,
            settings=json.dumps(settings),
            indices=np.fromiter(areas, dtype=np.int64),
            areas=np.stack(list(areas.values())),
        )
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_areas(path: Path) -> Tuple[Settings, Areas]:
    """Read what :func:`write_areas` wrote.

    Raises:
        InputError: If the file cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            settings = json.loads(str(file['settings']))
            areas = dict(zip(file['indices'].tolist(), file['areas']))
    except (KeyError, ValueError, OSError, EOFError, BadZipFile) as error:
        raise InputError(
            f'{path} cannot be read as partial results ({error}): remove it to evaluate its images '
            'again, and go on with --resume'
        ) from error
    return settings, areas
