"""Names of output files for images."""

import os.path as osp
from collections.abc import Sequence
from pathlib import Path


def name_outputs(paths: Sequence[str]) -> dict[str, str]:
    """Choose a unique output name for each image.

    Args:
        paths: Image files.

    Returns:
        Path of each image → the first of these that is unique for all images: its file name without
        extension; the same with the names of its folders below the common one, as in
        ``cam1_frame0``; its path below the common folder.
    """
    files = {path: Path(osp.abspath(path)) for path in paths}
    different = set(files.values())
    if _differ([file.stem for file in different]):
        return {path: file.stem for path, file in files.items()}
    root = osp.commonpath([file.parent for file in different])
    below = {file: file.relative_to(root) for file in different}
    names = {file: '_'.join(path.with_suffix('').parts) for file, path in below.items()}
    if not _differ([*names.values()]):
        names = {file: path.as_posix() for file, path in below.items()}
    return {path: names[file] for path, file in files.items()}


def _differ(names: Sequence[str]) -> bool:
    """Whether names differ, even on case-insensitive file systems."""
    return len({name.lower() for name in names}) == len(names)
