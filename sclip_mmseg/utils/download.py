"""Fetch a file over HTTP once: resumable, verified, safe for many processes at a time."""

import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Optional

from mmengine.logging import print_log
from tqdm import tqdm

from .errors import InputError
from .files import algorithm_of, digest_of, lock_file

_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte


def download(
    url: str,
    target: Path,
    digest: Optional[str],
    retries: int = 5,
    remedy: str = 'name another folder by SCLIP_DOWNLOAD_ROOT',
) -> Path:
    """Make sure that ``target`` holds the file behind ``url`` and return it.

    A broken transfer leaves ``<target>.part``, which the next attempt continues where the server
    supports ranges and starts again where it does not. ``target`` itself appears by an atomic
    rename, only once its digest is right. A lock file lets concurrent processes wait for one
    download.

    Args:
        url: Address of the file.
        target: Where the file shall lie. Its folder is made when missing.
        digest: Expected MD5 or SHA-256, in hexadecimal digits; None where none is published, so
            that the length given by the server decides.
        retries: Attempts in all before giving up on a connection that breaks.
        remedy: What to do where the folder cannot be written to.

    Raises:
        InputError: If the server cannot be reached, or if its file has another digest.
    """
    if target.is_file() and _is_right(target, digest):
        return target
    with lock_file(target, remedy):
        if target.is_file():
            if _is_right(target, digest):
                return target
            print_log(f'{target} has a wrong checksum and is downloaded again', 'current')
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
        if not _is_right(part, digest):
            found = digest_of(part, digest)
            part.unlink()
            raise InputError(
                f'{url} has {algorithm_of(digest)} {found}, expected {digest}: the file was '
                f'changed on its way or on the server. Put the right one at {target}'
            )
        os.replace(part, target)
    return target


def _is_right(path: Path, digest: Optional[str]) -> bool:
    return digest is None or digest_of(path, digest) == digest


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
