"""Files: found by any text, told apart by digest, made by one process at a time."""

import csv
import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from filelock import AcquireReturnProxy, FileLock, Timeout
from mmengine.logging import print_log

from .errors import InputError

_CHUNK = 1 << 20
_LOCK_TOLD, _LOCK_PATIENCE = 3.0, 60.0  # seconds until a wait is told, and until it ends
# A full disk, a quota that is reached, and a disk that the system made read-only.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_ALGORITHMS = {32: 'MD5', 40: 'SHA-1', 64: 'SHA-256'}  # by the number of hexadecimal digits


def find_file(text: str | Path) -> Path | None:
    """The file at a path; otherwise as :func:`find_path`."""
    path = find_path(text)
    return path if path is not None and os.path.isfile(path) else None


def find_path(text: str | Path) -> Path | None:
    """Expand a path, ``~`` being the home directory; None where nothing exists.

    Any text is allowed, such as one too long for a path.
    """
    try:
        path = Path(text).expanduser()
        return path if os.path.lexists(path) else None
    except (OSError, RuntimeError, ValueError):  # too long; no such user; a null byte
        return None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits; computed once while the file stays the same."""
    return _digest_of(path, 'SHA-256')


def digest_of(path: Path, like: str) -> str:
    """Digest of a file by the algorithm, such as SHA-256, that another digest's length tells."""
    return _digest_of(path, algorithm_of(like))


def algorithm_of(digest: str) -> str:
    """MD5, SHA-1 or SHA-256, whichever a digest of so many hexadecimal digits is of."""
    return _ALGORITHMS[len(digest)]


def _digest_of(path: Path, algorithm: str) -> str:
    status = path.stat()
    return _hash(path, algorithm, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _hash(path: Path, algorithm: str, size: int, modified: int) -> str:
    digest = hashlib.new(algorithm.replace('-', ''))
    with open(path, 'rb') as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def make_folder(folder: Path, remedy: str) -> None:
    """Make a folder when missing, and see that it can be written to.

    Args:
        folder: The folder.
        remedy: What to do where it cannot.

    Raises:
        InputError: If it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))  # an empty file fits on a full disk
            file.flush()
    except OSError as error:
        raise InputError(f'cannot write to {folder} ({error}): {remedy}') from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file as :func:`open_atomically` does."""
    with open_atomically(path) as file:
        file.write(content)


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Write a file whose folder exists: as a whole, on the disk when this ends, or not at all.

    Yields:
        What is written to.

    Raises:
        InputError: If it cannot be written.
    """
    temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    try:
        with open(temporary, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise InputError(f'{path} cannot be written ({error}): make room there') from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Let a library write a file whose folder exists: as a whole, or not at all.

    Yields:
        What to write in its place, of the same suffix in a hidden folder beside it, and of a name
        that no library takes for an address.
    """
    with tempfile.TemporaryDirectory(prefix='.', dir=path.parent) as folder:
        part = Path(folder, f'part{path.suffix}')
        yield part
        os.replace(part, path)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table, whose columns are the keys of all rows."""
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, dict.fromkeys(key for row in rows for key in row))
        writer.writeheader()
        writer.writerows(rows)


def _sync_folder(folder: Path) -> None:
    """Have the names of a folder's files on the disk; only POSIX opens folders."""
    if os.name == 'posix':
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def explain_full_disk(error: OSError, folders: Iterable[str | Path]) -> str:
    """Say which folder cannot be written to any more.

    Args:
        error: What was raised by writing.
        folders: Existing ones that were written to, one of which is on the disk at fault; none
            where they are not known.

    Returns:
        Words such as ``cannot write to /out (No space left on device)``; empty where the error is
        another one.
    """
    if error.errno not in _FULL:
        return ''
    # Only opening a file tells which one it was.
    by_room = sorted(folders, key=lambda folder: shutil.disk_usage(folder).free)
    place = error.filename or next(iter(by_room), 'a disk')
    return f'cannot write to {place} ({error.strerror})'


def lock_file(target: Path, remedy: str) -> AbstractContextManager[Callable[[], None]]:
    """Wait until no other process works on a file, whose folder is made when missing.

    A wait of some seconds is told, and ends when nothing changed for a minute.

    Args:
        target: The file to be made.
        remedy: What to do where its folder cannot be written to.

    Returns:
        A context at whose end the file is free again. It gives what shows others that this process
        works: to be called at times, unless ``target.part`` is written to.

    Raises:
        InputError: If the folder cannot be written to, or if the other process neither ends nor
            shows that it works.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = wait_for_lock(Path(f'{target}.lock'), target)
    except (OSError, NotImplementedError) as error:  # the latter of file systems without locks
        raise InputError(f'cannot write to {target.parent} ({error}): {remedy}') from error
    return _working(lock, target.with_name(f'{target.name}.part'))


@contextmanager
def _working(lock: AcquireReturnProxy, part: Path) -> Iterator[Callable[[], None]]:
    def heartbeat() -> None:
        with suppress(OSError):
            part.touch()

    with lock:
        try:
            yield heartbeat
        finally:
            with suppress(OSError):
                if not part.stat().st_size:
                    part.unlink()


def wait_for_lock(path: Path, target: Path) -> AcquireReturnProxy:
    """Take a lock; where another process has it, say so, and wait as long as that one works.

    Args:
        path: The lock's file.
        target: What the names of the files begin with that the other process writes to.

    Returns:
        A context at whose end the lock is free again.

    Raises:
        InputError: If the other process neither ends nor shows that it works.
        OSError, NotImplementedError: If the file cannot be locked.
    """
    lock, seen, since = FileLock(path), None, time.monotonic()
    while True:
        try:
            return lock.acquire(timeout=_LOCK_TOLD)
        except Timeout as error:
            if seen is None:
                print_log(f'Waiting for another process, which holds {path}', 'current')
            if (written := _written(target)) != seen:
                seen, since = written, time.monotonic()
            elif time.monotonic() - since > _LOCK_PATIENCE:
                raise InputError(
                    f'{path} has been held by another process for {_LOCK_PATIENCE:.0f} seconds, in '
                    'which nothing was written: end that process, and run again'
                ) from error


def _written(target: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a file and of its parts."""
    found = []
    with suppress(OSError):
        for path in target.parent.iterdir():
            if path.name.startswith(target.name) and path.suffix != '.lock':  # waiting changes it
                with suppress(OSError):  # renamed meanwhile
                    status = path.stat()
                    found.append((path.name, status.st_size, status.st_mtime_ns))
    return sorted(found)
