"""Checkpoints by name, path or Hub repository: their files, and the specs in their configs."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from mmengine.logging import print_log

from ..old_names import keep_old_names
from ..utils.download import download
from ..utils.errors import InputError, join_first
from ..utils.file_kinds import kind_of_place
from ..utils.files import find_path
from ..utils.hub import PREFIX, HubName, is_name, parse_name, pin, propose_name
from .spec import SPLIT, WEIGHTS, CheckpointSpec, Files

keep_old_names(
    __name__,
    Stated='towers.spec.CheckpointSpec',
    published_at='use Family(key, published={name: Published(address)})',
)
_SUFFIXES = ('.pt', '.pth', '.bin', '.ckpt', '.safetensors')
#: Reads the spec and the path of the weights from a repository's files.
Reader = Callable[[Files], tuple[CheckpointSpec, Path]]


class Published(NamedTuple):
    """URL of a published file, and its SHA-256 if that is published too."""

    url: str
    sha256: str | None = None


class Checkpoint(NamedTuple):
    """A checkpoint that was found.

    Attributes:
        weights: Path of the weights.
        spec: Spec from the config beside the weights; None if there is none or it is ignored.
        name: Name for messages: the given name or path, or the repository at its commit.
    """

    weights: Path
    spec: CheckpointSpec | None = None
    name: str | HubName = ''


@dataclass(frozen=True, eq=False)
class Family:
    """Checkpoints that a key of the config accepts.

    Attributes:
        key: The key, for error messages.
        published: The authors' files by name.
        read: Function that reads a repository; None if repositories are not supported.
        configs: File names, at least one of which a repository has; ``{}`` stands for its name.
        refusal: Error message for other texts; by default, it lists the names.
    """

    key: str
    published: Mapping[str, Published] = field(default_factory=dict)
    read: Reader | None = None
    configs: Sequence[str] = ()
    refusal: str = ''


def download_root() -> Path:
    """Folder of downloaded checkpoints: ``$SCLIP_DOWNLOAD_ROOT``, by default ``~/.cache/clip``."""
    return Path(os.environ.get('SCLIP_DOWNLOAD_ROOT') or '~/.cache/clip').expanduser()


def find(checkpoint: str | None, family: Family) -> Checkpoint:
    """Find a checkpoint, downloading it if needed.

    Files are downloaded to ``$SCLIP_DOWNLOAD_ROOT``, by default ``~/.cache/clip`` like
    openai-clip's, and those of the Hub to its own cache, see :mod:`..utils.hub`. A Hub revision is
    resolved once per process, so that all towers come from one commit.

    Args:
        checkpoint: A name, ``hf:ORG/NAME``, or the path of a file or of a folder with one.
        family: The expected family.

    Raises:
        InputError: If it is none of these, a repository is not of the family, or a download fails.
    """
    checkpoint = str(checkpoint)  # may be None if the config leaves it out
    if published := family.published.get(checkpoint):
        target = download_root() / published.url.rpartition('/')[2]
        return Checkpoint(download(published.url, target, published.sha256), name=checkpoint)
    if family.read and (name := parse_name(checkpoint)):
        return _of_repository(name, family.read, tuple(family.configs))
    return Checkpoint(_at_path(checkpoint, family), name=checkpoint)


def check_checkpoint(checkpoint: str, family: Family) -> None:
    """Refuse a text that is neither a name nor the path of a file, without downloading anything.

    Raises:
        InputError: See :func:`find`.
    """
    named = checkpoint in family.published or (family.read and parse_name(checkpoint))
    if not named:
        _at_path(checkpoint, family)


def _at_path(checkpoint: str, family: Family) -> Path:
    path = find_weights(checkpoint)
    if path is None:
        names = ', '.join(family.published)
        refusal = family.refusal or f'is neither a file nor one of {names}'
        raise InputError(f"{family.key}='{checkpoint}' {refusal}{propose_name(checkpoint)}")
    return path


def find_named(checkpoint: str, family: Family) -> Checkpoint:
    """:func:`find`, but the ``hf:`` of a Hub name is optional unless it looks like a file name."""
    checkpoint = str(checkpoint)
    named = is_name(checkpoint) and propose_name(checkpoint) and find_path(checkpoint) is None
    return find(PREFIX + checkpoint if named else checkpoint, family)


@lru_cache(maxsize=16)
def _of_repository(name: HubName, read: Reader, configs: tuple[str, ...]) -> Checkpoint:
    short = name.repository.rpartition('/')[2]
    pinned = pin(name, [config.format(short) for config in configs])
    if name != pinned:
        print_log(f'{name} is commit {pinned.revision}', 'current')
    spec, weights = read(Files(pinned))
    return Checkpoint(weights, spec, pinned)


def find_weights(text: str | Path) -> Path | None:
    """The weights file at a path or in a folder; None if the path does not exist.

    Raises:
        InputError: If the path is neither a file nor a folder with one checkpoint.
    """
    path = find_path(text)
    if path is None:
        return None
    place = kind_of_place(path)
    if place == 'a folder':
        return _weights_in(path)
    if place:
        raise InputError(f'{path} is {place}: give the path of a checkpoint')
    return path


def _weights_in(folder: Path) -> Path:
    """The weights file in a folder: the one of a Hub repository, or the only checkpoint."""
    inside = Files(folder)
    for names in WEIGHTS.values():
        if found := inside.find(*names):
            return found
    if inside.find(*SPLIT):
        raise InputError(
            f'the weights in {folder} are sharded into several files, which is not supported: save '
            'them as one file'
        )
    files = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    if len(files) == 1:
        return files[0]
    if files:
        listed = join_first([path.name for path in files], limit=5)
        raise InputError(
            f'{folder} is a folder with several checkpoints, give one of them: {listed}'
        )
    what = 'an unpacked file of torch.save' if inside.find('data.pkl') else 'a folder'
    raise InputError(
        f'{folder} is {what} without a checkpoint ({", ".join(_SUFFIXES)}): give the path of one'
    )
