"""The page's server takes requests of its own pages, about files that were uploaded."""

import asyncio
import json
import os
import os.path as osp
import re
import stat
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .hosts import Hosts, split

LARGEST_FILE = 200_000_000  # bytes of a picture
LARGEST_TOTAL = 5_000_000_000  # bytes of all uploads and results of an hour
_LARGEST_QUESTION = 200_000  # bytes: two lists of classes, with every character escaped
_API = '/gradio_api'
_FILE, _STREAM = f'{_API}/file=', f'{_API}/queue/data'
_CALL = f'{_API}/call/segment'
_JOIN = f'{_API}/queue/join'
# Values of a question before there was a size, its last one, which older programs leave out.
_WITHOUT_SIZE = {_CALL: 7, _JOIN: 8}
_JSON = {_JOIN, f'{_API}/cancel', f'{_API}/reset', _CALL}
# What the page in the browser, and programs, ask for. Gradio offers more: other ways to run
# functions, a proxy, a converter of videos.
_READ = re.compile(
    r'/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/(assets|static)/.+|'
    rf'{_API}/(info/?|app_id/?|startup-events|queue/data|upload_progress|heartbeat/[^/]+|file=.+|'
    r'call/segment/\w+)'
)
_UPLOAD = f'{_API}/upload'
_STALLED = 600  # seconds that an upload may take


class Listeners:
    """Who waits for answers: the sessions whose streams of events are open."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def __contains__(self, session: object) -> bool:
        return session in self._open

    def enter(self, session: str) -> None:
        """A stream of a session was opened."""
        self._open[session] += 1

    def leave(self, session: str) -> None:
        """A stream of a session was closed."""
        self._open[session] -= 1
        self._open += Counter()  # without those that are 0


class Refused(Exception):
    """A request that is not passed on: the status of its answer, and why."""

    def __init__(self, status: int, why: str):
        super().__init__(why)
        self.status = status


class Guard:
    """ASGI application that passes on to another one what a browser with the page open sends.

    Args:
        app: Gradio's application.
        folder: Where uploads and results are, and all files that may be read.
        hosts: By which names the page is asked for.
        listeners: Kept up to date.
    """

    def __init__(self, app: ASGIApp, folder: Path, hosts: Hosts, listeners: Listeners):
        self.app = app
        self.folder = Path(osp.realpath(folder))
        self.hosts = hosts
        self.listeners = listeners

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do so."""
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
            return
        if scope['type'] == 'websocket':  # the page uses none
            await send({'type': 'websocket.close', 'code': 1008})
            return
        try:
            self._check(scope)
            if scope['path'] in _JSON:
                receive = await self._read(scope, receive)
            if scope['path'] == _UPLOAD:
                _remove_parts(self.folder)
                _check_room(self.folder)
                receive = _hurry(receive)
            with self._noted(scope):
                await self.app(scope, receive, send)
        except Refused as refused:
            await PlainTextResponse(f'{refused}\n', refused.status)(scope, receive, send)
        except ClientDisconnect:  # in the middle of an upload
            pass

    @contextmanager
    def _noted(self, scope: Scope) -> Iterator[None]:
        """Note who listens while a request is answered."""
        query = scope['query_string'] if scope['path'] == _STREAM else b''
        session = QueryParams(query).get('session_hash')
        if scope['path'].startswith(f'{_CALL}/'):  # a call is a session of its own
            session = scope['path'].rpartition('/')[2]
        if session is None:
            yield
            return
        self.listeners.enter(session)
        try:
            yield
        finally:
            self.listeners.leave(session)

    def _check(self, scope: Scope) -> None:
        headers, path = Headers(scope=scope), scope['path']
        if why := self.hosts.refuse(_hosts(headers), headers.get('origin')):
            raise Refused(403, why)
        if scope['method'] == 'POST' and path in {*_JSON, _UPLOAD}:
            _check_length(headers, _LARGEST_QUESTION if path in _JSON else LARGEST_FILE + 10_000)
        elif scope['method'] not in ('GET', 'HEAD') or not _READ.fullmatch(path):
            raise Refused(404, 'The page has nothing here.')
        if path.startswith(_FILE) and not is_inside(path[len(_FILE) :], self.folder):
            raise Refused(403, 'This file was not uploaded here.')

    async def _read(self, scope: Scope, receive: Receive) -> Receive:
        """Read and check the body of a request; what gives it again."""
        body = b''
        while (message := await receive())['type'] == 'http.request':
            body += message.get('body', b'')
            if not message.get('more_body'):
                break
        try:
            question = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Refused(400, 'The body of this request is not JSON.') from error
        if scope['path'] == _CALL and not (
            isinstance(question, dict) and set(question) == {'data'}
        ):
            raise Refused(400, 'The body of a call is {"data": [...]}.')
        data = question.get('data') if isinstance(question, dict) else None
        if isinstance(data, list) and len(data) == _WITHOUT_SIZE.get(scope['path']):
            body = json.dumps({**question, 'data': [*data, '']}).encode()
        own = {'', *_hosts(Headers(scope=scope))}
        for value in _dicts(question):
            if not self._is_harmless(value, own):
                raise Refused(403, 'A file in this request was not uploaded here.')
        replies = iter([{'type': 'http.request', 'body': body, 'more_body': False}])

        async def again() -> Message:
            return next(replies, None) or await receive()

        return again

    def _is_harmless(self, value: dict, own: set) -> bool:
        """Whether Gradio, which takes a dictionary with a path for a file, may see one.

        It reads the file at ``path``, or fetches what is there; ``url`` is where the browser has
        it from.
        """
        if 'path' in value and not is_inside(value['path'], self.folder):
            return False
        url = value.get('url')
        parts = split(url) if isinstance(url, str) else None
        own_url = (
            parts is not None and parts.scheme in ('', 'http', 'https') and parts.netloc in own
        )
        return url is None or own_url


def is_inside(path: Any, folder: Path) -> bool:
    """Whether a path, all links followed, lies below a folder."""
    try:
        return isinstance(path, str) and Path(osp.realpath(path)).is_relative_to(folder)
    except (OSError, ValueError):  # a loop of links; a null byte, half a surrogate pair
        return False


def _hosts(headers: Headers) -> list[str]:
    """What the page was asked for by, and what a reverse proxy in front says that it was."""
    forwarded = headers.get('x-forwarded-host')
    hosts = [*headers.getlist('host'), *(forwarded.split(',') if forwarded else [])]
    return [host.strip().lower() for host in hosts]


def _check_length(headers: Headers, limit: int) -> None:
    length = headers.get('content-length', '')
    if not length.isdecimal() or 'transfer-encoding' in headers:  # browsers send it
        raise Refused(411, 'A request needs a Content-Length.')
    if int(length) > limit:
        raise Refused(413, f'This is too large: the page takes {limit} bytes here.')


def _check_room(folder: Path) -> None:
    if sum(status.st_size for _, status in _files(folder.rglob('*'))) > LARGEST_TOTAL:
        raise Refused(507, 'The page holds too many files: please come again in an hour.')


def _hurry(receive: Receive) -> Receive:
    """Take an upload for so long, then as one that was broken off."""
    end = time.monotonic() + _STALLED

    async def received() -> Message:
        try:
            return await asyncio.wait_for(receive(), end - time.monotonic())
        except asyncio.TimeoutError:
            return {'type': 'http.disconnect'}

    return received


def _remove_parts(folder: Path) -> None:
    """Remove what uploads that were broken off have left; whole ones lie in folders."""
    for path, status in _files(folder.iterdir()):
        if time.time() - status.st_mtime > _STALLED:
            path.unlink(missing_ok=True)


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    """Which of some paths are files, but for those that are removed meanwhile."""
    for path in paths:
        with suppress(OSError):
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                yield path, status


def _dicts(value: Any) -> Iterator[dict]:
    """All dictionaries in a value that was read from JSON."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
