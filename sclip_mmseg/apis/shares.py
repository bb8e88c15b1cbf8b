"""Shares of the files among several processes, and locks on the output folder."""

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from filelock import FileLock, Timeout

from ..utils.errors import InputError

#: Folder in the output folder for records of finished files, and for locks.
STATE = '.sclip'
_PATIENCE = 60.0  # seconds that others may hold the lock
Item = TypeVar('Item')


@dataclass(frozen=True)
class Share:
    """One of several equal parts of the files, each of which one process segments.

    Attributes:
        number: Number of this part, 1 to ``count``.
        count: Number of parts.
    """

    number: int = 1
    count: int = 1

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items of this part: every ``count``-th."""
        return items[self.number - 1 :: self.count]


def find_share(text: str | None) -> Share:
    """Parse a share, as in ``'2/8'``; None for all files.

    Raises:
        InputError: If the text has another form.
    """
    if text is None:
        return Share()
    found = re.fullmatch(r'(\d+)/(\d+)', text.strip())
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(
            f"share='{text}' (--share) is not a part: write its number, from 1, and the number of "
            "parts, as in '2/8'"
        )
    return Share(*map(int, found.groups()))


def share_under_torchrun(environ: Mapping[str, str] = os.environ) -> tuple[str | None, str | None]:
    """Share and GPU of a process that torchrun started; None where they do not apply."""
    if 'TORCHELASTIC_RUN_ID' not in environ:
        return None, None
    share = f'{int(environ["RANK"]) + 1}/{environ["WORLD_SIZE"]}'
    if not torch.cuda.is_available():
        return share, None
    return share, f'cuda:{int(environ["LOCAL_RANK"]) % torch.cuda.device_count()}'


@contextmanager
def lock_folder(out: Path, share: Share) -> Iterator[None]:
    """Lock an output folder for one process per share, all with the same number of parts.

    The locks end with the process, however it ends. On NFS they hold for all machines if the mount
    supports locks.

    Raises:
        InputError: If another run holds a lock.

    Warns:
        UserWarning: If the file system has no locks.
    """
    folder = out / STATE
    own = folder / f'{share.number}-of-{share.count}.lock'
    with ExitStack() as stack:
        try:
            folder.mkdir(exist_ok=True)
            with run_lock(out):
                for path in folder.glob('*-of-*.lock'):
                    if not path.name.endswith(f'-of-{share.count}.lock'):
                        with FileLock(path, timeout=0):
                            pass
                stack.enter_context(FileLock(own, timeout=0))
        except Timeout as error:
            raise InputError(
                f'another run writes to {out}: wait for it, or name another folder (out, --out); '
                'runs that divide the files among them get a share each (share, --share)'
            ) from error
        except (OSError, NotImplementedError) as error:
            warnings.warn(
                f'{out} is on a file system without locks ({error}): make sure that no other run '
                'writes there',
                stacklevel=3,
            )
        yield


def run_lock(out: Path) -> FileLock:
    """A lock held while a process checks the others' locks, or writes files of the whole run."""
    return FileLock(out / STATE / 'run.lock', timeout=_PATIENCE)
