"""Match labels to images by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path, PurePosixPath

from ...utils.errors import InputError
from ...utils.images import IMAGE_SUFFIXES

#: Suffixes of label files. JPEG is left out, since it changes values.
LABELS = frozenset(('.png', '.tif', '.tiff', '.bmp'))
Files = dict[str, list[str]]
"""Path below a folder without extension → the files with this name."""


def pair_files(
    images: Path,
    labels: Path,
    names: Sequence[str] | None = None,
    image_suffix: str = '',
    label_suffix: str = '',
    labelled_only: bool = False,
    kinds: Set[str] = LABELS,
) -> tuple[list[tuple[str, str]], list[str]]:
    """Find the label of each image below a folder.

    A label has the same relative path as its image, except for the extension; otherwise its file
    name must be unique. A suffix that all labels add to the names of their images, such as
    ``_mask``, is ignored.

    Args:
        images, labels: Folders, which are searched recursively. They may be the same folder, or
            one inside the other; in the same folder, labels are PNG or TIFF, and images are not.
        names: Names to use, relative to ``images`` and without extension; None for all.
        image_suffix, label_suffix: End of all names, such as ``_leftImg8bit.png``; empty for any
            extension.
        labelled_only: Whether images without a label are skipped.
        kinds: Extensions of labels.

    Returns:
        Pairs of paths in the order of names, and a sentence per image without label, label without
        image, or duplicate name.

    Raises:
        InputError: If there are no images or no labels.
    """
    same = os.path.realpath(images) == os.path.realpath(labels)
    skipped = {os.path.realpath(folder) for folder in (images, labels)}
    found = _list(images, IMAGE_SUFFIXES - (kinds if same else set()), image_suffix, skipped)
    truth = _list(labels, kinds, label_suffix, skipped)
    if not found:
        raise InputError(f'there is no image below {images}: name a folder of images')
    if not truth:
        hint = (
            ' (JPEG does not preserve the values of labels)'
            if _list(labels, IMAGE_SUFFIXES)
            else ''
        )
        raise InputError(f'there is no PNG or TIFF below {labels}: name a folder of labels{hint}')
    truth = _rename(truth, found)
    problems = [
        f'{kind}s {" and ".join(map(repr, paths))} have the same name: remove or rename one'
        for kind, files in (('image', found), ('label', truth))
        for name, paths in files.items()
        if len(paths) > 1 and (names is None or name in names)
    ]
    if names is None:
        problems += [
            f'image {found[name][0]} has no label'
            for name in sorted(found - truth.keys())
            if not labelled_only
        ]
        problems += [
            f'label {truth[name][0]} has no image' for name in sorted(truth - found.keys())
        ]
    else:
        for kind, files, folder in (('image', found, images), ('label', truth, labels)):
            problems += [
                f'{kind} {name} does not exist below {folder}'
                for name in names
                if name not in files
            ]
    chosen = sorted(found) if names is None else names
    pairs = [(found[name][0], truth[name][0]) for name in chosen if name in found and name in truth]
    return pairs, problems


def has_files(folder: Path, kinds: Set[str], without: Set[str]) -> bool:
    """Whether a folder contains files with some extensions, and none with others."""
    return bool(_list(folder, kinds)) and not _list(folder, without)


def list_images(folder: Path) -> Files:
    """List the images below a folder, by their paths without extension."""
    return _list(folder, IMAGE_SUFFIXES)


def _list(
    folder: Path, suffixes: Set[str], end: str = '', skipped: Set[str] = frozenset()
) -> Files:
    files: Files = {}
    for path in _walk(str(folder), skipped - {os.path.realpath(folder)}):
        stem, suffix = os.path.splitext(path)
        if suffix.lower() not in suffixes or (end and not path.endswith(end)):
            continue
        name = path[: -len(end)] if end else stem
        files.setdefault(os.path.relpath(name, folder).replace(os.sep, '/'), []).append(path)
    return files


def _walk(folder: str, skipped: Set[str]) -> Iterator[str]:
    """Walk the files below a folder in order, without hidden files and skipped folders."""
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith('.')
            and not (skipped and os.path.realpath(os.path.join(root, name)) in skipped)
        )
        yield from (os.path.join(root, name) for name in sorted(names) if name[0] != '.')


def _rename(labels: Files, images: Mapping) -> Files:
    """Give labels the names of their images if they differ by folder or by a common suffix."""
    left = images.keys() - labels.keys()
    lost = labels.keys() - images.keys()
    if not left or not lost:
        return labels
    new = _match_endings(lost, left) or _match_folders(lost, left)
    return {new.get(name, name): paths for name, paths in labels.items()}


def _match_endings(labels: set, images: set) -> dict[str, str]:
    """Label → image, if all labels have a suffix which they add to the names of images."""
    for some in sorted(labels):  # the first ones may have no image
        starts = [some[:end] for end in range(1, len(some)) if some[:end] in images]
        if starts:
            break
    else:
        return {}
    ending = some[len(starts[-1]) :]
    if not all(name.endswith(ending) for name in labels):
        return {}
    new = {name: name[: -len(ending)] for name in labels}
    return {name: image for name, image in new.items() if image in images}


def _match_folders(labels: set, images: set) -> dict[str, str]:
    """Label → image with the same name in another folder, if the name is unique."""
    by_name: list[dict[str, list[str]]] = [{}, {}]
    for files, known in zip((labels, images), by_name):
        for path in files:
            known.setdefault(PurePosixPath(path).name, []).append(path)
    return {
        paths[0]: by_name[1][name][0]
        for name, paths in by_name[0].items()
        if len(paths) == len(by_name[1].get(name, ())) == 1
    }
