"""Region maps as files: what ``tools/make_region_masks.py`` does."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..config import merge_options, read_config
from ..datasets.checks import load_dataset
from ..datasets.parts import image_paths
from ..regions import ARRAY, RegionFiles, find_generator
from ..registry import REGION_GENERATORS, in_scope
from ..utils.arrays import pack_arrays
from ..utils.errors import InputError, nearest
from ..utils.files import make_folder, write_atomically
from ..utils.images import UNREADABLE
from ..utils.processes import map_in_processes
from ..utils.spelling import arguments
from .inputs import find_media, is_video
from .media import read_image

Generator = Callable[[np.ndarray], np.ndarray]


def make_maps_of(
    source: str,
    out: Path | None = None,
    generator: str = 'felzenszwalb',
    options: Mapping[str, Any] | None = None,
    nproc: int | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> tuple[str, int, int]:
    """Make region maps of a folder of images, or of the images of a config's benchmark.

    Args:
        source: The folder or the config.
        out: Folder to write to, or a pattern such as ``FOLDER/{folder}/{stem}.npz``; None for
            the pattern in the config's ``model.region_masks``.
        generator: ``'felzenszwalb'``, ``'sam2'`` or ``'sam'``.
        options: Arguments of the generator.
        nproc: Number of processes; None for one per CPU, or a single one if the generator is a
            network.
        cfg_options: Settings that replace the config's.

    Returns:
        The pattern, the number of images, and the number of new maps.

    Raises:
        InputError: If an argument or an image is invalid.
    """
    pattern = None
    if Path(source).is_dir():
        images = [path for path in find_media([Path(source)]) if not is_video(path)]
    else:
        images, pattern = _read_benchmark(source, cfg_options or {})
    if out is not None:
        pattern = str(out if '{stem}' in out.name else out / '{stem}.npz')
    if not isinstance(pattern, str):
        raise InputError(f'{source} does not say where region maps are: name a folder by --out')
    config = find_generator(generator)
    known = arguments(REGION_GENERATORS.get(config['type']))[0]
    for key in options or {}:
        if key not in known:
            takes = f'{config["type"]} takes {", ".join(known)}{nearest(key, known)}'
            raise InputError(f'--options {key}: {takes}')
    built = REGION_GENERATORS.build({**config, **(options or {})})
    parallel = getattr(built, 'parallel', False)
    nproc = nproc or (os.cpu_count() or 1 if parallel else 1)
    if nproc > 1 and not parallel:
        raise InputError(f'--generator {generator} runs in one process: leave --processes out')
    return pattern, len(images), make_region_maps(images, pattern, built, nproc)


def _read_benchmark(config: str, cfg_options: Mapping[str, Any]) -> tuple[list[Path], str | None]:
    """The images of a config's dataset, and where the config expects their maps."""
    cfg = read_config(config)
    merge_options(cfg, cfg_options)
    with in_scope():
        dataset = load_dataset(cfg.test_dataloader.dataset)
    return list(map(Path, image_paths(dataset))), cfg.model.get('region_masks')


def make_region_maps(
    images: Sequence[Path], pattern: str, generator: Generator, nproc: int = 1
) -> int:
    """Write the region maps that are missing or cannot be read.

    Maps are written atomically, so that interrupted runs leave only complete ones.

    Args:
        images: Paths of the images.
        pattern: Pattern of the maps' paths, see :class:`..regions.RegionFiles`; ends in ``.npz``.
        generator: Generator of regions, see :mod:`..regions`.
        nproc: Number of processes.

    Returns:
        Number of maps written.

    Raises:
        InputError: If two images would have the same map, or a folder cannot be written to; or,
            once all other maps are written, if images cannot be read.
    """
    files = RegionFiles(pattern)
    if not pattern.endswith('.npz'):
        raise InputError(f'region maps are written as .npz files, not as {pattern}')
    files.check_names(images)
    for folder in {files.path(str(image)).parent for image in images}:
        make_folder(folder, 'name another folder by --out')
    make = partial(_make, files, generator)
    results = map_in_processes(make, images, nproc, desc='region maps', unit='image')
    if errors := [result for result in results if isinstance(result, str)]:
        raise InputError(f'{len(errors)} of {len(images)} without region map: {"; ".join(errors)}')
    return sum(results)


def _make(files: RegionFiles, generator: Generator, image: Path) -> bool | str:
    """Make an image's map.

    Returns:
        Whether a map was written, or what is wrong with the image.
    """
    target = files.path(str(image))
    if target.is_file() and _is_whole(files, image):
        return False
    try:
        ids = generator(read_image(image)[..., ::-1].copy())
    except InputError as error:
        return str(error)
    write_atomically(target, pack_arrays({ARRAY: ids}))
    return True


def _is_whole(files: RegionFiles, image: Path) -> bool:
    size = _size(image)
    for shape in (size, size and size[::-1]):  # turned upright by its EXIF data, or not
        try:
            files.load(str(image), shape or ())
            return True
        except InputError:
            continue
    return False


def _size(path: Path) -> tuple | None:
    """Height and width as stored in the file; None if it cannot be read."""
    try:
        with Image.open(path) as image:
            return image.size[::-1]
    except UNREADABLE:
        return None
