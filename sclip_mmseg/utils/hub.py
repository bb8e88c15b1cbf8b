"""Files of repositories on the Hugging Face Hub, downloaded by ``huggingface_hub``.

Its settings apply: cache (``HF_HOME``, ``HF_HUB_CACHE``), mirrors (``HF_ENDPOINT``), offline mode
(``HF_HUB_OFFLINE``) and tokens (``HF_TOKEN``, ``hf auth login``). Files are requested one by one
rather than as a snapshot, which needs a file list that caches filled by other programs lack.
"""

import re
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

from .errors import InputError, NotFetched, first_line
from .files import wait_for_lock

PREFIX = 'hf:'
_WORD = r'[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?'
_REPOSITORY = re.compile(rf'{_WORD}/{_WORD}', re.ASCII)
_REVISION = re.compile(r'[\w.-]+(?:/[\w.-]+)*', re.ASCII)
# Other prefixes that users write: those of other programs, URLs, another case.
_MISSPELT = re.compile(
    r'(?:https?://)?(?:www\.)?(?:hf|hf-hub|hub|hugging[-_]?face|huggingface\.co|hf\.co)[:/]+(.+)',
    re.IGNORECASE,
)
# Texts that look like ORG/NAME but are not: CLIPs by name, and paths of checkpoints.
_NOT_ON_THE_HUB = re.compile(
    r'(?:ViT-|MetaCLIP-|RN|\.).*|.*\.(?:pth?|bin|ckpt|npz|safetensors)', re.IGNORECASE
)
# How names of gated repositories begin: without a network the Hub cannot say so.
_GATED = 'facebook/sam3', 'facebook/dinov3-'


class NotCached(NotFetched):
    """A file is not in the cache, and the Hub cannot be reached."""


class HubName(NamedTuple):
    """A repository at a revision: a branch, a tag or a commit."""

    repository: str
    revision: str = 'main'

    @property
    def is_commit(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return bool(re.fullmatch('[0-9a-f]{40}', self.revision))

    def __str__(self) -> str:
        shown = self.revision != 'main' and not self.is_commit
        return f'{PREFIX}{self.repository}' + f'@{self.revision}' * shown


def parse_name(text: str) -> HubName | None:
    """Parse ``hf:ORG/NAME`` or ``hf:ORG/NAME@REVISION``; None without the prefix.

    Raises:
        InputError: If the prefix is not followed by such a name.
    """
    if not str(text).startswith(PREFIX):
        return None
    name = str(text)[len(PREFIX) :]
    if not is_name(name):
        raise InputError(
            f"'{text}' is not a name on the Hub: write hf:ORG/NAME or hf:ORG/NAME@REVISION"
            f'{propose_name(text)}'
        )
    repository, _, revision = name.partition('@')
    return HubName(repository, revision or 'main')


def propose_name(text: str) -> str:
    """Suggest a repository for a text that is neither a known name nor a file.

    Returns:
        ``" (did you mean 'hf:ORG/NAME'?)"``, to be appended to an error message; empty if the text
        does not look like a repository.
    """
    misspelt = _MISSPELT.fullmatch(str(text))
    meant = misspelt.group(1) if misspelt else str(text)
    if misspelt and text.lower().startswith('http'):
        meant = '/'.join(meant.split('/')[:2])  # without /tree/main etc.
    if not is_name(meant) or (not misspelt and _NOT_ON_THE_HUB.fullmatch(meant.split('@')[0])):
        return ''
    return f" (did you mean '{PREFIX}{meant}'?)"


def is_name(text: str) -> bool:
    """Whether a text is ``ORG/NAME`` or ``ORG/NAME@REVISION``."""
    repository, at, revision = text.partition('@')
    known = bool(_REPOSITORY.fullmatch(repository)) and '--' not in repository
    known = known and (not at or bool(_REVISION.fullmatch(revision)))
    return known and '..' not in text


def pin(name: HubName, filenames: Sequence[str]) -> HubName:
    """Resolve a revision to its commit, so that all files come from the same commit.

    Args:
        name: The repository.
        filenames: File names, at least one of which the repository should have.

    Raises:
        InputError: If the repository has none of them, or cannot be reached.
    """
    from huggingface_hub import try_to_load_from_cache

    def is_missing(filename: str) -> bool:
        found = try_to_load_from_cache(name.repository, filename, revision=name.revision)
        return not isinstance(found, str)

    # Offline, the client waits long for a file that is not in the cache, so these come last: an
    # error on the first file means that none is cached.
    for filename in sorted(filenames, key=is_missing):
        path = fetch(name, filename)
        if path is not None:
            return HubName(name.repository, path.parent.name)  # snapshots/COMMIT/FILE
    raise InputError(f'{name} has no {" or ".join(filenames)}: it is not a model of a known kind')


def fetch_first(name: HubName, filenames: Sequence[str]) -> Path | None:
    """The first of several files that a repository has; None if it has none of them.

    Raises:
        NotCached: If none was found, and one is not cached and the Hub cannot be reached.
        InputError: See :func:`fetch`.
    """
    unknown = None
    for filename in filenames:
        try:
            path = fetch(name, filename)
        except NotCached as error:
            unknown = unknown or error
            continue
        if path is not None:
            return path
    if unknown is not None:
        raise unknown
    return None


def fetch(name: HubName, filename: str) -> Path | None:
    """Path of a file in the cache, downloaded if needed; None if the repository lacks the file.

    Raises:
        NotCached: If the file is not cached, and the Hub cannot be reached.
        InputError: If the repository or revision does not exist, access is denied, or the download
            fails or is blocked.
    """
    from huggingface_hub import constants, errors, hf_hub_download, try_to_load_from_cache

    known = try_to_load_from_cache(name.repository, filename, revision=name.revision)
    if known is None:
        _wait_for_others(name)
    elif not isinstance(known, str) and name.is_commit:
        # The client's marker of a missing file. Commits never change, so it stays valid.
        return None
    if not isinstance(known, str) and (fault := _find_no_address()):
        raise NotCached(_unreachable(name, filename, fault)) from fault
    try:
        return Path(hf_hub_download(name.repository, filename, revision=name.revision))
    except errors.GatedRepoError as error:
        raise NotFetched(
            f'{name} is gated: request access at {constants.ENDPOINT}/{name.repository}, then log '
            'in with `hf auth login` or set HF_TOKEN'
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f'{name}: {constants.ENDPOINT} has no such repository, or it is private: in that case '
            'log in with `hf auth login` or set HF_TOKEN'
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(
            f"{name.repository} on the Hub has no revision '{name.revision}': give a branch, a tag "
            'or a commit'
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise NotCached(_unreachable(name, filename, error.__cause__)) from error
    except errors.EntryNotFoundError:
        return None
    except _bases(errors.HfHubHTTPError) as error:  # OSError, and the HTTP client's exception
        raise NotFetched(
            f'cannot download {filename} of {name} from {constants.ENDPOINT} '
            f'({first_line(error)}): try again, or give the path of a file'
        ) from error


def _bases(error: type[OSError]) -> tuple[type[Exception], ...]:
    return OSError, *(base for base in error.__bases__ if issubclass(base, Exception))


def _find_no_address() -> socket.gaierror | None:
    """The error if the Hub's host has no address, as without a network; None if it has one.

    The client would try again for 23 seconds, as it should if a server responds slowly.
    """
    from huggingface_hub import constants

    # A proxy may find hosts that this machine cannot.
    if constants.HF_HUB_OFFLINE or getproxies().keys() - {'no'}:
        return None
    fault = None
    for wait in (0, 1):  # seconds; a single failure may be temporary
        time.sleep(wait)
        try:
            socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, None)
        except socket.gaierror as error:
            fault = error
        else:
            return None
    return fault


def _wait_for_others(name: HubName) -> None:
    """Wait for downloads of other processes and report it; the client would wait silently."""
    from huggingface_hub import constants

    cache, folder = Path(constants.HF_HUB_CACHE), f'models--{name.repository.replace("/", "--")}'
    for lock in sorted((cache / '.locks' / folder).glob('*.lock')):
        with suppress(OSError, NotImplementedError):  # the client reports these
            wait_for_lock(lock, cache / folder / 'blobs' / lock.stem).lock.release()


def _unreachable(name: HubName, filename: str, cause: BaseException | None) -> str:
    from huggingface_hub import constants

    where = f'{filename} of {name} is not in the cache {constants.HF_HUB_CACHE}'
    if name.repository.startswith(_GATED):
        where += f' (it is gated: request access at {constants.ENDPOINT}/{name.repository})'
    if constants.HF_HUB_OFFLINE:
        return f'{where}, and HF_HUB_OFFLINE forbids downloading it: unset it, or give a path'
    return (
        f'{where}, and the request to {constants.ENDPOINT} failed ({first_line(cause)}): check '
        'the network, set HF_ENDPOINT to a mirror, or give the path of a file'
    )
