"""Files of repositories on the Hugging Face Hub, fetched by its own client.

Cache (``HF_HOME``, ``HF_HUB_CACHE``), mirrors (``HF_ENDPOINT``), offline mode (``HF_HUB_OFFLINE``)
and tokens (``HF_TOKEN``, ``hf auth login``) are the client's. Files are asked for one by one,
not as a snapshot, which would need a list of the repository: caches that others filled have none.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from .errors import InputError, NotFetched, first_line
from .files import wait_for_lock

PREFIX = 'hf:'
_WORD = r'[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?'
_REPOSITORY = re.compile(rf'{_WORD}/{_WORD}', re.ASCII)
_REVISION = re.compile(r'[\w.-]+(?:/[\w.-]+)*', re.ASCII)
# What people write in place of the prefix: other programs', an address, another case.
_MISSPELT = re.compile(
    r'(?:https?://)?(?:www\.)?(?:hf|hf-hub|hub|hugging[-_]?face|huggingface\.co|hf\.co)[:/]+(.+)',
    re.IGNORECASE,
)
# What else looks like ORG/NAME: CLIPs by name, and paths of checkpoints.
_NOT_ON_THE_HUB = re.compile(
    r'(?:ViT-|MetaCLIP-|RN|\.).*|.*\.(?:pth?|bin|ckpt|npz|safetensors)', re.IGNORECASE
)


class NotCached(NotFetched):
    """A file is not in the cache, and the Hub cannot be asked for it."""


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
    """Read ``hf:ORG/NAME`` or ``hf:ORG/NAME@REVISION``; None where the prefix is not there.

    Raises:
        InputError: If the prefix is there, but no such name behind it.
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
    """Propose the repository that a text, neither name nor file, probably means.

    Returns:
        ``" (did you mean 'hf:ORG/NAME'?)"``, to be put at an error's end; empty where none was.
    """
    misspelt = _MISSPELT.fullmatch(str(text))
    meant = misspelt.group(1) if misspelt else str(text)
    if misspelt and text.lower().startswith('http'):
        meant = '/'.join(meant.split('/')[:2])  # less /tree/main and the like
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
    """Find the commit that a revision stands for, so that all files are of the same one.

    Args:
        name: The repository.
        filenames: Files one of which it should have.

    Raises:
        InputError: If it has none of them, or cannot be reached.
    """
    from huggingface_hub import try_to_load_from_cache

    def is_missing(filename: str) -> bool:
        found = try_to_load_from_cache(name.repository, filename, revision=name.revision)
        return not isinstance(found, str)

    # Without a network, the client waits long for a file that is not in the cache: so this is
    # asked for last, and if the first is not there, none is.
    for filename in sorted(filenames, key=is_missing):
        path = fetch(name, filename)
        if path is not None:
            return HubName(name.repository, path.parent.name)  # snapshots/COMMIT/FILE
    raise InputError(f'{name} has no {" or ".join(filenames)}: it is not a model of a known kind')


def fetch_first(name: HubName, filenames: Sequence[str]) -> Path | None:
    """The first of some files that a repository has; None where it has none.

    Raises:
        NotCached: If none was found, and one is neither in the cache nor can be asked for.
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
    """The file in the cache, downloaded if needed; None where the repository has no such file.

    Raises:
        NotCached: If it is not in the cache, and the Hub cannot be asked for it.
        InputError: If there is no such repository or revision, or no access, or the download fails
            or is blocked.
    """
    from huggingface_hub import constants, errors, hf_hub_download, try_to_load_from_cache

    if name.is_commit:  # of which what is known stays true
        known = try_to_load_from_cache(name.repository, filename, revision=name.revision)
        if known is not None and not isinstance(known, str):
            return None  # the client's mark of a file that does not exist
    _wait_for_others(name, filename)
    try:
        return Path(hf_hub_download(name.repository, filename, revision=name.revision))
    except errors.GatedRepoError as error:
        raise InputError(
            f'{name} is gated: ask for access at {constants.ENDPOINT}/{name.repository}, then log '
            'in by `hf auth login` or set HF_TOKEN'
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f'{name}: {constants.ENDPOINT} has no such repository, or a private one, for which log '
            'in by `hf auth login` or set HF_TOKEN'
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(
            f"{name.repository} on the Hub has no revision '{name.revision}': name a branch, a tag "
            'or a commit'
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise NotCached(_unreachable(name, filename, error.__cause__)) from error
    except errors.EntryNotFoundError:
        return None
    except _bases(errors.HfHubHTTPError) as error:  # OSError, and the HTTP client's own
        raise NotFetched(
            f'cannot download {filename} of {name} from {constants.ENDPOINT} '
            f'({first_line(error)}): try again, or give the path of a file'
        ) from error


def _bases(error: type[OSError]) -> tuple[type[Exception], ...]:
    return OSError, *(base for base in error.__bases__ if issubclass(base, Exception))


def _wait_for_others(name: HubName, filename: str) -> None:
    """Wait for downloads of other processes, for which the client would wait without a word."""
    from huggingface_hub import constants, try_to_load_from_cache

    if try_to_load_from_cache(name.repository, filename, revision=name.revision) is not None:
        return
    cache, folder = Path(constants.HF_HUB_CACHE), f'models--{name.repository.replace("/", "--")}'
    for lock in sorted((cache / '.locks' / folder).glob('*.lock')):
        with suppress(OSError, NotImplementedError):  # of which the client speaks
            wait_for_lock(lock, cache / folder / 'blobs' / lock.stem).lock.release()


def _unreachable(name: HubName, filename: str, cause: BaseException | None) -> str:
    from huggingface_hub import constants

    where = f'{filename} of {name} is not in the cache {constants.HF_HUB_CACHE}'
    if constants.HF_HUB_OFFLINE:
        return f'{where}, and HF_HUB_OFFLINE forbids to fetch it: unset it, or give a path'
    return (
        f'{where}, and asking {constants.ENDPOINT} failed ({first_line(cause)}): check the '
        'network, name a mirror by HF_ENDPOINT, or give the path of a file'
    )
