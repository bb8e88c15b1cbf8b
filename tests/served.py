"""The page of a session, served by a thread of the test."""

import tempfile
import threading
from contextlib import contextmanager
from importlib.util import find_spec
from unittest import mock

from helpers import require

from sclip_mmseg.web import Hosts, listen
from sclip_mmseg.web.server import build_app, private_folder


@contextmanager
def served(session, folder):
    """Address of the page, and its folder, which is in a given one."""
    require(find_spec('gradio'), 'Gradio (pip install -e ".[web]")')
    with mock.patch.object(tempfile, 'tempdir', str(folder)), private_folder() as uploads:
        import uvicorn

        bound = listen('127.0.0.1', 0)
        app = build_app(session, uploads, Hosts('127.0.0.1'))
        server = uvicorn.Server(uvicorn.Config(app, log_level='error', timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
        thread.start()
        try:
            yield f'http://127.0.0.1:{bound.getsockname()[1]}', uploads
        finally:
            server.should_exit = True
            thread.join(20)
