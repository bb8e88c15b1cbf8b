"""Input files, and the names of their results."""

import os
import os.path as osp
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import TypeVar

from ..old_names import keep_old_names
from ..rasters.detecting import ONLY_MAPS, reads_maps
from ..utils.errors import InputError, join_first
from ..utils.images import HEIF, IMAGE_SUFFIXES, pillow_only_suffixes

keep_old_names(__name__, PICTURES='utils.images.IMAGE_SUFFIXES')

VIDEOS = {
    *('.mp4', '.m4v', '.avi', '.mov', '.mkv', '.webm', '.mpg', '.mpeg', '.gif'),
    *('.wmv', '.flv', '.3gp', '.3g2', '.mts', '.m2ts', '.ogv', '.asf', '.f4v', '.mpe', '.m2v'),
}
#: Suffixes of images and videos that cannot be read: in folders they are counted and left out.
UNREAD = {
    *HEIF,
    *('.jxl', '.svg', '.svgz', '.psd', '.xcf', '.eps', '.ai', '.ico'),
    *('.pcx', '.sgi', '.dds', '.exr', '.hdr', '.pic', '.pfm', '.jxr', '.j2k', '.jpf'),
    *('.raw', '.dng', '.cr2', '.cr3', '.nef', '.arw', '.orf', '.rw2', '.raf', '.pef', '.srw'),
    *('.rm', '.rmvb', '.vob', '.mxf', '.dv'),
}
#: Ends of the names of results, which are not inputs of later runs.
OVERLAY, LABELS, MASKS, CONFIDENCE = '_overlay', '_labels', '_masks', '_confidence'
POLYGONS = '_polygons'
RESULTS = (
    *(f'{OVERLAY}.{suffix}' for suffix in ('jpg', 'png', 'mp4')),
    *(f'{kind}.{suffix}' for kind in (LABELS, CONFIDENCE) for suffix in ('png', 'tif')),
)
AnyPath = TypeVar('AnyPath', bound=PurePath)
_LISTED = 10  # files in a warning
_ADDRESS = re.compile(r'(https?|ftps?):/', re.IGNORECASE)  # pathlib merges the two slashes


def is_video(path: str | Path) -> bool:
    """Whether a file is a video, by its suffix."""
    return Path(path).suffix.lower() in VIDEOS


def find_media(paths: Sequence[Path], left_out: Counter[str] | None = None) -> list[Path]:
    """List the given files, and the images and videos below the given folders, each once.

    Hidden files and folders and results of earlier runs are left out. A folder that cannot be
    listed is returned as if it were a file, so that reading it raises the error.

    Args:
        paths: Files and folders.
        left_out: Counter to which the images and videos of unsupported formats are added, by
            suffix, for :func:`describe_left_out`; None to warn about them.

    Returns:
        Paths, sorted within each folder.

    Raises:
        InputError: If a path does not exist, or a folder contains no image or video.

    Warns:
        UserWarning: If a folder contains images of unsupported formats (without ``left_out``), or
            links to folders, which are not followed.
    """
    found: dict = {}
    for path in paths:
        check_local(path)
        if not osp.lexists(path):
            raise InputError(f'image {path} does not exist')
        inside = _find_inside(path, left_out) if osp.isdir(path) else [path]
        if not inside:
            raise InputError(f'no image or video below {path}')
        for file in inside:
            found.setdefault(osp.join(osp.realpath(file.parent), file.name), file)
    return list(found.values())


def _find_inside(root: Path, left_out: Counter[str] | None) -> list[Path]:
    """Images and videos below a folder, and folders in it that cannot be listed, sorted."""
    found: list[Path] = []
    locked: list[Path] = []
    links: list[str] = []
    for folder, folders, names in os.walk(root, onerror=lambda e: locked.append(Path(e.filename))):
        folders[:] = [name for name in folders if not _is_skipped(name, is_folder=True)]
        links += [name for name in folders if osp.islink(osp.join(folder, name))]
        found += (Path(folder, name).relative_to(root) for name in names)
    chosen, unread = choose(found)
    if left_out is not None:
        left_out.update(path.suffix.lower() for path in unread)
        unread = []
    for names, reason in (
        (
            [path.name for path in unread],
            'kinds that cannot be read: convert them to PNG, JPEG or MP4',
        ),
        (links, 'links to folders: name the folders themselves'),
    ):
        if names:
            listed = join_first(sorted(names), _LISTED)
            warnings.warn(f'left out below {root}: {listed} ({reason})', stacklevel=3)
    return sorted([*(root / path for path in chosen), *locked])


def choose(paths: Iterable[AnyPath]) -> tuple[list[AnyPath], list[AnyPath]]:
    """Choose the inputs among the files of a folder.

    Args:
        paths: Paths of all files below the folder.

    Returns:
        The images and videos that can be read, and those of unsupported formats, both sorted.
        Hidden files, files in hidden folders, and results of earlier runs are in neither.
    """
    readable = IMAGE_SUFFIXES | VIDEOS | pillow_only_suffixes()
    readable |= ONLY_MAPS if reads_maps() else set()
    seen = [
        path
        for path in sorted(paths)
        if not _is_skipped(path.name)
        and not any(_is_skipped(name, is_folder=True) for name in path.parts[:-1])
    ]
    chosen = [path for path in seen if path.suffix.lower() in readable]
    return chosen, [path for path in seen if path.suffix.lower() in UNREAD - readable]


def _is_skipped(name: str, is_folder: bool = False) -> bool:
    """Whether a file or folder is hidden, or contains results."""
    return name.startswith('.') or name.endswith((LABELS, MASKS) if is_folder else RESULTS)


def describe_left_out(left_out: Counter[str]) -> str:
    """Say how many files of which suffixes were left out, and what to do about them."""
    counts = ', '.join(f'{count} {suffix}' for suffix, count in sorted(left_out.items()))
    heif = ' (.heic, .heif and .hif are read after: pip install pillow-heif)'
    return (
        f'left out: {counts}, which cannot be read: convert them to PNG, JPEG or MP4'
        f'{heif if HEIF & {*left_out} else ""}'
    )


def check_local(path: str | Path) -> None:
    """Check that a value is a path, and not a URL.

    Raises:
        InputError: If it is not a path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(
            f'{type(path).__name__} is not a path: arrays and images are for apis.segment'
        )
    if _ADDRESS.match(str(path)):
        raise InputError(f'{path} is a URL: download it, and name the file')


def output_names(files: Sequence[Path], inputs: Sequence[Path]) -> list[Path]:
    """Name the results of each file below the output folder, in the layout of the inputs.

    Args:
        files: Files from :func:`find_media`.
        inputs: The files and folders given to :func:`find_media`.

    Returns:
        Relative paths, without suffix unless names would collide.

    Raises:
        InputError: If two files would have the same names of results.
    """
    roots = [next((r for r in inputs if r.is_dir() and r in f.parents), f.parent) for f in files]
    whole = [path.relative_to(root) for path, root in zip(files, roots)]
    parents = {root: Path(osp.abspath(root)).parts[1:] for root in roots}
    for depth in range(max(map(len, parents.values()), default=0) + 1):
        # Where names collide, they begin with as many folders of the inputs as needed.
        longer = [
            Path(*parents[root][max(len(parents[root]) - depth, 0) :], name)
            for root, name in zip(roots, whole)
        ]
        if len({*longer}) == len(longer):
            whole = longer
            break
    names = without_suffixes(whole)
    counts = Counter(names)
    for path, name in zip(files, names):
        if counts[name] > 1:
            raise InputError(f'{path} and another file are both called {name}: rename one')
    return names


def without_suffixes(whole: Sequence[AnyPath]) -> list[AnyPath]:
    """Paths without their suffixes, except where they differ only in these."""
    names, previous = [path.with_suffix('') for path in whole], None
    while names != previous:  # a name with its suffix may in turn equal another file's
        previous, counts = names, Counter(names)
        names = [long if counts[name] > 1 else name for name, long in zip(names, whole)]
    return names


def check_targets(stems: Iterable[Path], files: Sequence[Path]) -> None:
    """Check that no result would overwrite an input.

    Args:
        stems: Files of results, or beginnings of their paths, see :func:`output_names`.
        files: The inputs.

    Raises:
        InputError: If a result would overwrite an input.
    """
    inputs = {osp.realpath(path) for path in files}
    for stem in stems:
        for target in (f'{stem}{end}' for end in ('', *RESULTS)):
            if osp.lexists(target) and osp.realpath(target) in inputs:
                raise InputError(
                    f'a result would overwrite the input {target}: name another folder (out, --out)'
                )
