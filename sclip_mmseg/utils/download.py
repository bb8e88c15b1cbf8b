"""Downloads over HTTPS: resumable, verified, and safe with several processes."""

import os
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from mmengine.logging import print_log
from tqdm import tqdm

from .errors import InputError, NotFetched
from .file_kinds import HTML, SAFETENSORS, TORCH_LEGACY, TORCH_ZIP, TORCHSCRIPT, kind_of
from .files import algorithm_of, digest_of, lock_file

_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte
_LOOPBACK = ('127.0.0.1', '::1', 'localhost')
_WEIGHTS = (SAFETENSORS, TORCH_ZIP, TORCHSCRIPT, TORCH_LEGACY)


def download(
    url: str,
    target: Path,
    digest: str | None,
    retries: int = 5,
    remedy: str = 'name another folder by SCLIP_DOWNLOAD_ROOT',
) -> Path:
    """Download a file unless it exists and is valid.

    An interrupted transfer leaves ``<target>.part``. The next attempt resumes it if the server
    supports ranges and still has the same file, and otherwise starts again. ``target`` is created
    by an atomic rename once the file is verified: by its digest, or, without one, by the length
    that the server states and by its kind (a checkpoint or, if named ``.zip``, a complete archive).
    Concurrent processes wait for one download with a lock file.

    Args:
        url: Address of the file, over HTTPS or on this machine; the same holds for redirects.
        target: Output path. Its folder is created if missing.
        digest: Expected MD5, SHA-1 or SHA-256 in hexadecimal digits; None if none is published.
        retries: Maximum number of attempts if the connection breaks.
        remedy: Advice for the error message if the folder is not writable.

    Returns:
        ``target``.

    Raises:
        InputError: If the server cannot be reached or sends something else, the digest is wrong,
            or the file cannot be written.
    """
    _check_address(url)
    if target.is_file() and not _find_old_fault(target, digest):
        return target
    with lock_file(target, remedy):
        if target.is_file():
            fault = _find_old_fault(target, digest)
            if not fault:
                return target
            print_log(f'{target} {fault}: downloading it again', 'current')
        part = _Part(target, digest, remedy)
        begun = part.size > 0
        _transfer(url, part, retries)
        fault = _find_fault(part.path, target.suffix, digest)
        if fault and begun:  # the first part may be of another version of the file
            part.remove()
            _transfer(url, part, retries)
            fault = _find_fault(part.path, target.suffix, digest)
        if fault:
            part.remove()
            raise InputError(
                f'the file from {url} {fault}: it was changed in transit or on the server. Save '
                f'the correct file as {target}'
            )
        part.finish()
    return target


def _check_address(url: str, origin: str = '') -> None:
    """Refuse addresses without encryption, except on this machine."""
    parts = urlsplit(url)
    if parts.scheme != 'https' and (parts.scheme != 'http' or parts.hostname not in _LOOPBACK):
        raise InputError(
            f'{origin}{url} is not downloaded because it does not use https: download it by other '
            'means if you trust the network'
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to addresses that :func:`_check_address` accepts."""

    def http_error_302(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any) -> Any:
        if location := headers.get('Location'):
            _check_address(urljoin(req.full_url, location), f'{req.full_url} redirects to ')
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _find_fault(path: Path, suffix: str, digest: str | None) -> str:
    """Describe what is wrong with a file; empty if nothing is."""
    if digest is not None:
        found = digest_of(path, digest)
        return '' if found == digest else f'has {algorithm_of(digest)} {found}, expected {digest}'
    kind = kind_of(path)
    if zipfile.is_zipfile(path) if suffix == '.zip' else kind in _WEIGHTS:
        return ''
    expected = 'a complete zip archive' if suffix == '.zip' else 'a checkpoint'
    return f'is {kind.description}, not {expected}'


def _find_old_fault(path: Path, digest: str | None) -> str:
    """The same for an existing file: without a digest, only a web page is refused.

    A user may have saved a file of any other kind there.
    """
    if digest is None:
        kind = kind_of(path)
        return f'is {kind.description}' if kind == HTML else ''
    return _find_fault(path, path.suffix, digest)


class _Part:
    """A partially downloaded file, and the server's identifier (ETag) of its version."""

    def __init__(self, target: Path, digest: str | None, remedy: str):
        self.target, self.digest, self.remedy = target, digest, remedy
        self.path = target.with_name(f'{target.name}.part')
        self._version = target.with_name(f'{target.name}.part.version')
        if self.path.is_file() and not self.range():  # its version is unknown
            self.remove()

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def range(self) -> dict[str, str]:
        """Headers that request the rest of the file; empty to request all of it."""
        version = self._version.read_text() if self._version.is_file() else ''
        if not self.size or not (self.digest or version):
            return {}
        return {'Range': f'bytes={self.size}-', **({'If-Range': version} if version else {})}

    def begin(self, version: str) -> None:
        with self.explained():
            self.path.write_bytes(b'')
            self._version.write_text(version)

    @contextmanager
    def explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f'cannot write to {self.path.parent} ({error.strerror}): {self.remedy}, or free '
                'disk space and try again, which resumes the download'
            ) from error

    def remove(self) -> None:
        with self.explained():
            self.path.unlink(missing_ok=True)
            self._version.unlink(missing_ok=True)

    def finish(self) -> None:
        with self.explained():
            os.replace(self.path, self.target)
            self._version.unlink(missing_ok=True)


def _transfer(url: str, part: _Part, retries: int) -> None:
    """Download a file to its part; try again if the connection breaks."""
    for attempt in range(1, retries + 1):
        try:
            return _fetch(url, part)
        except (OSError, HTTPException) as error:
            refused = isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500
            if attempt == retries or refused:
                raise NotFetched(
                    f'cannot download {url}: {error}. Check the network, or download the file by '
                    f'other means and save it as {part.target}'
                ) from error


def _fetch(url: str, part: _Part) -> None:
    """Append to a part until it is complete."""
    have, request = part.size, urllib.request.Request(url, headers=part.range())
    try:
        response = urllib.request.build_opener(_Redirects).open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # The part is at least as long as the file: verify it if equal, otherwise start again.
        if error.headers.get('Content-Range', '').rpartition('/')[2] != str(have):
            part.remove()
            raise ConnectionError('the partial file is longer than the file itself') from error
        return
    with response:
        _check_answer(response, url, part)
        if response.status != 206:
            have = 0
            part.begin(response.headers.get('ETag') or response.headers.get('Last-Modified') or '')
        elif not _continues(response, have, part.digest is not None):
            part.remove()
            raise ConnectionError('the server sent a different range than requested')
        total = None if response.length is None else have + response.length
        name = os.path.basename(url)
        with (
            open(part.path, 'ab', buffering=0) as file,
            tqdm(total=total, initial=have, unit='B', unit_scale=True, desc=name) as bar,
        ):
            while chunk := response.read(_CHUNK):
                rest = memoryview(chunk)
                with part.explained():
                    while rest:
                        rest = rest[file.write(rest) :]
                bar.update(len(chunk))
    if total is not None and part.size < total:
        raise ConnectionError(f'the connection ended after {part.size} of {total} bytes')


def _continues(response: HTTPResponse, have: int, verified: bool) -> bool:
    """Whether a response holds the rest of a file; some servers do not say."""
    stated = response.headers.get('Content-Range')
    return verified if stated is None else stated.startswith(f'bytes {have}-')


def _check_answer(response: HTTPResponse, url: str, part: _Part) -> None:
    """Refuse a response that cannot be the file, before anything is written."""
    kind = response.headers.get_content_type()
    if kind in ('text/html', 'application/xhtml+xml'):
        raise InputError(
            f'{url} returned a web page ({kind}) instead of the file: open it in a browser, log in '
            f'to the network if it asks for that, or save the file as {part.target}'
        )
    if part.digest is None and response.length is None and not response.chunked:
        raise InputError(
            f'{url} states neither a length nor a checksum, so the file cannot be verified: '
            f'download it by other means and save it as {part.target}'
        )
    free = shutil.disk_usage(part.path.parent).free
    if response.length is not None and response.length > free:
        raise InputError(
            f'{url} has {response.length / 2**30:.1f} GiB, but only {free / 2**30:.1f} GiB are '
            f'free in {part.path.parent}: {part.remedy}'
        )
