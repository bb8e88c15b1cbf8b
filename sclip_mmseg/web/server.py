"""The server of the page, with a private folder and independent of environment variables."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from ..utils.errors import InputError
from . import style
from .hosts import Hosts
from .limits import ending
from .page import build_page
from .session import Session


def build_app(session: Session, folder: Path, hosts: Hosts) -> Any:
    """The page as an ASGI application.

    Args:
        session: The session that computes answers.
        folder: Folder from :func:`private_folder`, the only files that requests may read.
        hosts: Allowed host names.
    """
    import gradio as gr
    from fastapi import FastAPI

    from .guard import LARGEST_FILE, Guard, Listeners

    listeners = Listeners()
    page = build_page(session, folder, listeners)
    page.has_launched = True  # as launch() sets it, so that Gradio checks where files are
    fonts = ('system-ui', 'sans-serif'), ('ui-monospace', 'monospace')
    # Not launch(): it requests the page from its own address, through any proxy.
    app = gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        page,
        '/',
        theme=gr.themes.Default(
            primary_hue='indigo', neutral_hue='slate', font=fonts[0], font_mono=fonts[1]
        ),
        css=style.CSS,
        max_file_size=LARGEST_FILE,
        show_error=True,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
    )
    return Guard(app, folder, hosts, listeners)


@contextmanager
def private_folder() -> Iterator[Path]:
    """Import Gradio with a folder that only this user can read, and remove the folder at the end.

    Raises:
        InputError: If no temporary folder can be created.
    """
    try:
        folder = TemporaryDirectory(prefix='sclip_web_', ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError(f'no temporary folder ({error}): name one by TMPDIR') from error
    with folder as path:
        uploads = Path(path, 'uploads')
        uploads.mkdir()
        with environment(
            GRADIO_TEMP_DIR=str(uploads),
            GRADIO_EXAMPLES_CACHE=str(uploads),
            GRADIO_ANALYTICS_ENABLED='False',
        ):
            with environment(no_proxy='*'):  # Gradio's HTTP client may lack SOCKS support
                import gradio  # noqa: F401
            yield uploads


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set environment variables temporarily."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def serve(session: Session, bound: socket.socket, hosts: Hosts, address: str) -> None:
    """Serve the page of a session until a signal ends it.

    Args:
        session: The session that computes answers.
        bound: Socket from :func:`.hosts.listen`.
        hosts: Allowed host names.
        address: Text to print once the page is available.

    Raises:
        InputError: If no temporary folder can be created.
        KeyboardInterrupt: On Ctrl-C.
        SystemExit: On SIGTERM or SIGHUP.
    """
    _end_by_signals()
    with private_folder() as folder:
        import uvicorn

        class Server(uvicorn.Server):
            ended_by: int = signal.SIGINT

            def handle_exit(self, sig: int, frame: FrameType | None) -> None:
                logging.getLogger('uvicorn.error').disabled = True  # about streams cut off
                self.ended_by = sig
                ending.set()
                super().handle_exit(sig, frame)

        ending.clear()
        app = build_app(session, folder, hosts)
        config = uvicorn.Config(app, log_level='warning', timeout_graceful_shutdown=1)
        print(address, flush=True)
        server = Server(config)
        server.run([bound])
        # uvicorn raises the signal again, unless it came before the start.
        if server.ended_by == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + server.ended_by)


def _end_by_signals() -> None:
    """Let SIGTERM and SIGHUP raise SystemExit, so that temporary files are removed."""
    for name in ('SIGTERM', 'SIGHUP'):
        number = getattr(signal, name, None)  # Windows lacks SIGHUP, and nohup ignores it
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
