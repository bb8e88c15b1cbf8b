"""Security of the page's server: it answers its own pages only, about uploaded files only."""

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

LARGEST_FILE = 200_000_000  # bytes of an image
LARGEST_TOTAL = 5_000_000_000  # bytes of all uploads and results of an hour
_LARGEST_QUESTION = 200_000  # bytes: two lists of classes, every character escaped
_API = '/gradio_api'
_FILE, _STREAM = f'{_API}/file=', f'{_API}/queue/data'
_CALL = f'{_API}/call/segment'
_JOIN = f'{_API}/queue/join'
# Number of values in requests of programs that omit the last one, the size.
_WITHOUT_SIZE = {_CALL: 7, _JOIN: 8}
_JSON = {_JOIN, f'{_API}/cancel', f'{_API}/reset', _CALL}
# What the page in the browser, and programs, request. Gradio offers more: other ways to run
# functions, a proxy, a video converter.
_READ = re.compile(
    r'/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/(assets|static)/.+|'
    rf'{_API}/(info/?|app_id/?|startup-events|queue/data|upload_progress|heartbeat/[^/]+|file=.+|'
    r'call/segment/\w+)'
)
_UPLOAD = f'{_API}/upload'
_STALLED = 600  # seconds that an upload may take


class Listeners:
    """Sessions that wait for answers, i.e. whose event streams are open."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def __contains__(self, session: object) -> bool:
        return session in self._open

    def enter(self, session: str) -> None:
        """Register an open stream of a session."""
        self._open[session] += 1

    def leave(self, session: str) -> None:
        """Remove a stream of a session."""
        self._open[session] -= 1
        self._open += Counter()  # drops zeros


class Refused(Exception):
    """A request that is not passed on, with the HTTP status and the reason."""

    def __init__(self, status: int, why: str):
        super().__init__(why)
        self.status = status


class Guard:
    """ASGI application that only passes on requests of the open page.

    Args:
        app: Gradio's application.
        folder: Folder of uploads and results, the only files that may be read.
        hosts: Allowed host names.
        listeners: Waiting sessions, which this class updates.
    """

    def __init__(self, app: ASGIApp, folder: Path, hosts: Hosts, listeners: Listeners):
        self.app = app
        self.folder = Path(osp.realpath(folder))
        self.hosts = hosts
        self.listeners = listeners

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on to the application."""
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
                receive = _limit_time(receive)
            with self._listening(scope):
                await self.app(scope, receive, send)
        except Refused as refused:
            await PlainTextResponse(f'{refused}\n', refused.status)(scope, receive, send)
        except ClientDisconnect:  # in the middle of an upload
            pass

    @contextmanager
    def _listening(self, scope: Scope) -> Iterator[None]:
        """Register the session of an event stream while it is open."""
        query = scope['query_string'] if scope['path'] == _STREAM else b''
        session = QueryParams(query).get('session_hash')
        if scope['path'].startswith(f'{_CALL}/'):  # each call is its own session
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
        """Read and check the body of a request; returns a ``receive`` that replays it."""
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
        """Whether a dictionary, which Gradio may read as a file, names an uploaded one.

        Gradio reads or downloads ``path``; ``url`` is the browser's address of the file.
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
    """Whether a path, with all links resolved, is below a folder."""
    try:
        return isinstance(path, str) and Path(osp.realpath(path)).is_relative_to(folder)
    except (OSError, ValueError):  # a loop of links; a null byte, half a surrogate pair
        return False


def _hosts(headers: Headers) -> list[str]:
    """Host names of a request: of its ``Host`` header, and as a reverse proxy reports them."""
    forwarded = headers.get('x-forwarded-host')
    hosts = [*headers.getlist('host'), *(forwarded.split(',') if forwarded else [])]
    return [host.strip().lower() for host in hosts]


def _check_length(headers: Headers, limit: int) -> None:
    length = headers.get('content-length', '')
    if not length.isdecimal() or 'transfer-encoding' in headers:  # browsers send it
        raise Refused(411, 'A request needs a Content-Length.')
    if int(length) > limit:
        raise Refused(413, f'This is too large: the limit is {limit} bytes.')


def _check_room(folder: Path) -> None:
    if sum(status.st_size for _, status in _files(folder.rglob('*'))) > LARGEST_TOTAL:
        raise Refused(507, 'The page stores too many files: please come again in an hour.')


def _limit_time(receive: Receive) -> Receive:
    """Limit the time of an upload; afterwards it counts as interrupted."""
    end = time.monotonic() + _STALLED

    async def received() -> Message:
        try:
            return await asyncio.wait_for(receive(), end - time.monotonic())
        except asyncio.TimeoutError:
            return {'type': 'http.disconnect'}

    return received


def _remove_parts(folder: Path) -> None:
    """Remove files of interrupted uploads; complete ones are in subfolders."""
    for path, status in _files(folder.iterdir()):
        if time.time() - status.st_mtime > _STALLED:
            path.unlink(missing_ok=True)


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    """The regular files among some paths; those removed meanwhile are skipped."""
    for path in paths:
        with suppress(OSError):
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                yield path, status


def _dicts(value: Any) -> Iterator[dict]:
    """All dictionaries in a JSON value."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
