"""Helpers for files: paths, digests, atomic writes and locks."""

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
_LOCK_REPORTED, _LOCK_TIMEOUT = 3.0, 60.0  # seconds until a wait is reported, and until it ends
# A full disk, an exceeded quota, and a disk that the system has made read-only.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_ALGORITHMS = {32: 'MD5', 40: 'SHA-1', 64: 'SHA-256'}  # by the number of hexadecimal digits


def find_file(text: str | Path) -> Path | None:
    """:func:`find_path`, restricted to files."""
    path = find_path(text)
    return path if path is not None and os.path.isfile(path) else None


def find_path(text: str | Path) -> Path | None:
    """Expand ``~`` in a path; None if nothing exists there.

    Any text is allowed, also one that is too long for a path, or empty.
    """
    if text == '':  # which pathlib takes for the working directory
        return None
    try:
        path = Path(text).expanduser()
        return path if os.path.lexists(path) else None
    except (OSError, RuntimeError, ValueError):  # too long; no such user; a null byte
        return None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in 64 hexadecimal digits; cached while the file does not change."""
    return _digest_of(path, 'SHA-256')


def digest_of(path: Path, like: str) -> str:
    """Digest of a file, by the algorithm that the length of another digest implies."""
    return _digest_of(path, algorithm_of(like))


def algorithm_of(digest: str) -> str:
    """Algorithm (MD5, SHA-1 or SHA-256) of a digest, from its number of hexadecimal digits."""
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
    """Create a folder if missing, and check that it is writable.

    Args:
        folder: The folder.
        remedy: Advice for the error message.

    Raises:
        InputError: If the folder cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))  # an empty file fits on a full disk
            file.flush()
    except OSError as error:
        raise InputError(f'cannot write to {folder} ({error}): {remedy}') from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file atomically, see :func:`open_atomically`."""
    with open_atomically(path) as file:
        file.write(content)


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Write a file completely or not at all; it is on the disk when the context ends.

    Args:
        path: Output path, in an existing folder.

    Yields:
        A binary file to write to.

    Raises:
        InputError: If the file cannot be written.
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
        raise InputError(f'{path} cannot be written ({error}): free disk space there') from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Let a library write a file completely or not at all.

    Args:
        path: Output path, in an existing folder.

    Yields:
        Path of a temporary file with the same suffix in a hidden folder beside ``path``; its name
        cannot be mistaken for a URL.
    """
    with tempfile.TemporaryDirectory(prefix='.', dir=path.parent) as folder:
        part = Path(folder, f'part{path.suffix}')
        yield part
        os.replace(part, path)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV table whose columns are the keys of all rows."""
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, dict.fromkeys(key for row in rows for key in row))
        writer.writeheader()
        writer.writerows(rows)


def _sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk; only POSIX systems can open folders."""
    if os.name == 'posix':
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def explain_full_disk(error: OSError, folders: Iterable[str | Path]) -> str:
    """Say which path is on a full disk.

    Args:
        error: Exception raised by writing.
        folders: Existing output folders, one of which is on the full disk; may be empty.

    Returns:
        Text such as ``cannot write to /out (No space left on device)``; empty for other errors.
    """
    if error.errno not in _FULL:
        return ''
    # The error has a filename only if opening the file failed.
    by_room = sorted(folders, key=lambda folder: shutil.disk_usage(folder).free)
    place = error.filename or next(iter(by_room), 'a disk')
    return f'cannot write to {place} ({error.strerror})'


def lock_file(target: Path, remedy: str) -> AbstractContextManager[Callable[[], None]]:
    """Wait until no other process works on a file; its folder is created if missing.

    A wait of more than a few seconds is reported. It ends with an error after a minute without
    progress of the other process.

    Args:
        target: The file to be written.
        remedy: Advice for the error message if the folder is not writable.

    Returns:
        A context that holds the lock. It gives a heartbeat function, to be called regularly unless
        ``target.part`` is written to, so that waiting processes see progress.

    Raises:
        InputError: If the folder is not writable, or the other process makes no progress.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = wait_for_lock(Path(f'{target}.lock'), target)
    except (OSError, NotImplementedError) as error:  # the latter on file systems without locks
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
    """Acquire a lock; if another process holds it, report that and wait while it makes progress.

    Args:
        path: The lock file.
        target: Path whose name is a prefix of the files that the other process writes to.

    Returns:
        A context that holds the lock.

    Raises:
        InputError: If the other process makes no progress.
        OSError, NotImplementedError: If the file cannot be locked.
    """
    lock, seen, since = FileLock(path), None, time.monotonic()
    while True:
        try:
            return lock.acquire(timeout=_LOCK_REPORTED)
        except Timeout as error:
            if seen is None:
                print_log(f'Waiting for another process that holds {path}', 'current')
            if (written := _written(target)) != seen:
                seen, since = written, time.monotonic()
            elif time.monotonic() - since > _LOCK_TIMEOUT:
                raise InputError(
                    f'{path} has been held by another process for {_LOCK_TIMEOUT:.0f} seconds '
                    'without progress: end that process, then run the command again'
                ) from error


def _written(target: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and modification times of a file and its parts."""
    found = []
    with suppress(OSError):
        for path in target.parent.iterdir():
            # Waiting touches the lock file.
            if path.name.startswith(target.name) and path.suffix != '.lock':
                with suppress(OSError):  # renamed in the meantime
                    status = path.stat()
                    found.append((path.name, status.st_size, status.st_mtime_ns))
    return sorted(found)
