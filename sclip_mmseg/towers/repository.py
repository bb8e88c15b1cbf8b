"""A checkpoint's name, path or repository on the Hub → its file, and what is stated beside it."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from mmengine.logging import print_log

from ..utils.download import download
from ..utils.errors import InputError, join_first
from ..utils.file_kinds import kind_of_place
from ..utils.files import find_path
from ..utils.hub import HubName, parse_name, pin, propose_name
from .stated import SPLIT, WEIGHTS, Files, Stated

_SUFFIXES = ('.pt', '.pth', '.bin', '.ckpt', '.safetensors')


#: A repository's files → what its config states, and its weights.
Reader = Callable[[Files], tuple[Stated, Path]]
#: A repository → names of files one of which it has.
Configs = Callable[[HubName], Sequence[str]]


class Checkpoint(NamedTuple):
    """Where a checkpoint lies.

    Attributes:
        weights: Its file.
        stated: What a config beside it states; None where none is followed.
        name: What to call it: its name or path, or the repository at its commit.
    """

    weights: Path
    stated: Stated | None = None
    name: str | HubName = ''


@dataclass(frozen=True, eq=False)
class Family:
    """Checkpoints that may stand at a key of the config.

    Attributes:
        key: The key, for error messages.
        fetch: A name of its authors' → its file, downloaded if needed; None for other texts.
        advise: What is neither a file nor a name → what it is, and what to write instead.
        read: A repository's files → what its config states, and its weights; None where
            repositories are not read.
        configs: A repository → names of files one of which it has.
    """

    key: str
    fetch: Callable[[str], Path | None]
    advise: Callable[[str], str]
    read: Reader | None = None
    configs: Configs = lambda name: ()


def published_at(
    key: str,
    addresses: Mapping[str, str],
    read: Reader | None = None,
    configs: Configs = lambda name: (),
) -> Family:
    """A family with names of files that are published without checksums.

    Args:
        addresses: Name → address.
        key, read, configs: See :class:`Family`.
    """

    def fetch(name: str) -> Path | None:
        url = addresses.get(name)
        if url is None:
            return None
        return download(url, download_root() / url.rpartition('/')[2], digest=None)

    advice = f'is neither a file nor one of {", ".join(addresses)}'
    return Family(key, fetch, lambda _: advice, read, configs)


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
    if path := family.fetch(checkpoint):
        return Checkpoint(path, name=checkpoint)
    name = parse_name(checkpoint) if family.read else None
    if family.read is not None and name is not None:
        return _of_repository(name, family.read, family.configs)
    path = find_weights(checkpoint)
    if path is None:
        advice = f'{family.advise(checkpoint)}{propose_name(checkpoint)}'
        raise InputError(f"{family.key}='{checkpoint}' {advice}")
    return Checkpoint(path, name=checkpoint)


@lru_cache(maxsize=16)
def _of_repository(name: HubName, read: Reader, configs: Configs) -> Checkpoint:
    pinned = pin(name, configs(name))
    if name != pinned:
        print_log(f'{name} is commit {pinned.revision}', 'current')
    stated, weights = read(Files(pinned))
    return Checkpoint(weights, stated, pinned)


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
