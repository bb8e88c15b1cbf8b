"""Fetch a file over HTTP once: resumable, verified, safe for many processes at a time."""

import hashlib
import os
import urllib.error
import urllib.request
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock
from mmengine.logging import print_log
from tqdm import tqdm

from ..errors import InputError

_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits; computed once while the file stays the same."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _sha256(path: Path, size: int, modified: int) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def lock_file(target: Path, remedy: str) -> AcquireReturnProxy:
    """Wait until no other process works on a file, whose folder is made when missing.

    Args:
        target: The file to be made.
        remedy: What to do where its folder cannot be written to.

    Returns:
        A context at whose end the file is free again.

    Raises:
        InputError: If the folder cannot be written to.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(f'{target}.lock').acquire()
    except OSError as error:
        raise InputError(f'cannot write to {target.parent} ({error}): {remedy}') from error


def download(url: str, target: Path, sha256: str, retries: int = 5) -> Path:
    """Make sure that ``target`` holds the file behind ``url`` and return it.

    A broken transfer leaves ``<target>.part``, which the next attempt continues where the server
    supports ranges and starts again where it does not. ``target`` itself appears by an atomic
    rename, only once its SHA-256 is right. A lock file lets concurrent processes wait for one
    download.

    Args:
        url: Address of the file.
        target: Where the file shall lie. Its folder is made when missing.
        sha256: Expected digest, 64 hexadecimal digits.
        retries: Attempts in all before giving up on a connection that breaks.

    Raises:
        InputError: If the server cannot be reached, or if its file has another digest.
    """
    if target.is_file() and sha256_of(target) == sha256:
        return target
    with lock_file(target, 'name another folder with --download-root or SCLIP_DOWNLOAD_ROOT'):
        if target.is_file():
            if sha256_of(target) == sha256:
                return target
            print_log(f'{target} has a wrong SHA-256 and is downloaded again', 'current')
        part = target.with_name(target.name + '.part')
        for attempt in range(1, retries + 1):
            try:
                _fetch(url, part)
                break
            except (OSError, HTTPException) as error:
                if attempt == retries or _is_client_error(error):
                    raise InputError(
                        f'cannot download {url}: {error}. Check the network, or fetch the file '
                        f'by other means and put it at {target}'
                    ) from error
        found = sha256_of(part)
        if found != sha256:
            part.unlink()
            raise InputError(
                f'{url} has SHA-256 {found}, expected {sha256}: the file was changed on its way '
                f'or on the server. Fetch it by other means and put it at {target}'
            )
        os.replace(part, target)
    return target


def _is_client_error(error: Exception) -> bool:
    return isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500


def _fetch(url: str, part: Path) -> None:
    """Append to ``part`` until it is complete.

    Raises:
        OSError, HTTPException: If the connection fails or ends early.
    """
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={'Range': f'bytes={have}-'} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # The part is at least as long as the file: its digest decides, or it starts over.
        if error.headers.get('Content-Range', '').rpartition('/')[2] != str(have):
            part.unlink()
            raise ConnectionError('the partial file is longer than the file itself') from error
        return
    with response:
        if response.status != 206:
            have = 0
        length = response.headers.get('Content-Length')
        total = have + int(length) if length else None
        with (
            open(part, 'ab' if have else 'wb') as file,
            tqdm(
                total=total, initial=have, unit='B', unit_scale=True, desc=os.path.basename(url)
            ) as bar,
        ):
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and part.stat().st_size < total:
        raise ConnectionError(f'the connection ended after {part.stat().st_size} of {total} bytes')
