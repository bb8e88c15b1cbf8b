"""A checkpoint's name, path or repository on the Hub → its file, and what its config states."""

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
    published_at='use Family(key, published={name: Published(address)})',
)
_SUFFIXES = ('.pt', '.pth', '.bin', '.ckpt', '.safetensors')
#: A repository's files → what its config states, and its weights.
Reader = Callable[[Files], tuple[CheckpointSpec, Path]]


class Published(NamedTuple):
    """Where a file is published, and its SHA-256 where that is published too."""

    url: str
    sha256: str | None = None


class Checkpoint(NamedTuple):
    """Where a checkpoint lies.

    Attributes:
        weights: Its file.
        spec: What a config beside it states; None where none is followed.
        name: What to call it: its name or path, or the repository at its commit.
    """

    weights: Path
    spec: CheckpointSpec | None = None
    name: str | HubName = ''


@dataclass(frozen=True, eq=False)
class Family:
    """Checkpoints that may stand at a key of the config.

    Attributes:
        key: The key, for error messages.
        published: Names of its authors' files.
        read: Reads a repository; None where repositories are not read.
        configs: Files one of which a repository has, ``{}`` standing for its name.
        refusal: What is said of other texts; by default, that they are none of these names.
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

    Downloads go to ``$SCLIP_DOWNLOAD_ROOT``, by default ``~/.cache/clip`` as openai-clip's do;
    those from the Hub to its own cache, see :mod:`..utils.hub`, once per process, so that all
    towers are of one commit.

    Args:
        checkpoint: A name, ``hf:ORG/NAME``, or the path of a file or of a folder with one.
        family: What it should be.

    Raises:
        InputError: If it is none of these, a repository is not of the family, or a download fails.
    """
    checkpoint = str(checkpoint)  # None, where a config leaves it out
    if published := family.published.get(checkpoint):
        target = download_root() / published.url.rpartition('/')[2]
        return Checkpoint(download(published.url, target, published.sha256), name=checkpoint)
    if family.read and (name := parse_name(checkpoint)):
        return _of_repository(name, family.read, tuple(family.configs))
    path = find_weights(checkpoint)
    if path is None:
        names = ', '.join(family.published)
        refusal = family.refusal or f'is neither a file nor one of {names}'
        raise InputError(f"{family.key}='{checkpoint}' {refusal}{propose_name(checkpoint)}")
    return Checkpoint(path, name=checkpoint)


def find_named(checkpoint: str, family: Family) -> Checkpoint:
    """:func:`find`, where a name on the Hub, unless it ends as a file's, may lack its ``hf:``."""
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


def forget() -> None:
    """Ask the Hub anew, as a new process would."""
    _of_repository.cache_clear()


def find_weights(text: str | Path) -> Path | None:
    """The file of weights at a path, or the one in a folder; None where there is nothing.

    Raises:
        InputError: If there is something else.
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
    """The file of weights in a folder: that of a repository of the Hub, or the only one."""
    inside = Files(folder)
    for names in WEIGHTS.values():
        if found := inside.find(*names):
            return found
    if inside.find(*SPLIT):
        raise InputError(f'the weights in {folder} are split into several files, which is not read')
    files = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    if len(files) == 1:
        return files[0]
    if files:
        listed = join_first([path.name for path in files], limit=5)
        raise InputError(f'{folder} is a folder of several checkpoints, give one of them: {listed}')
    what = 'an unpacked file of torch.save' if inside.find('data.pkl') else 'a folder'
    raise InputError(
        f'{folder} is {what} without a checkpoint ({", ".join(_SUFFIXES)}): give the path of one'
    )
