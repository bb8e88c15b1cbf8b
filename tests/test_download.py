"""Downloads from a server on this machine."""

import hashlib
import multiprocessing
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from helpers import seeded_clip

from sclip_mmseg import InputError
from sclip_mmseg.towers import checkpoint
from sclip_mmseg.utils.download import download
from sclip_mmseg.utils.files import sha256_of

CONTENT = bytes(range(256)) * 4096 * 3
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves `content`; can break connections off and forget how to serve ranges."""

    def __init__(self, content=CONTENT):
        self.content = content
        self.ranges = True
        self.cut_after = []  # bytes after which each of the next answers breaks off
        self.requests = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f'http://127.0.0.1:{self.http.server_port}/clip.pt'

    def answer(self, request):
        wanted = request.headers.get('Range')
        self.requests.append(wanted)
        if request.path != '/clip.pt':
            request.send_error(404)
            return
        start = int(wanted[len('bytes=') : -1]) if wanted and self.ranges else 0
        if start >= len(self.content):
            request.send_response(416)
            request.send_header('Content-Range', f'bytes */{len(self.content)}')
            request.end_headers()
            return
        body = self.content[start:]
        request.send_response(206 if start else 200)
        request.send_header('Content-Length', str(len(body)))
        request.end_headers()
        request.wfile.write(body[: self.cut_after.pop(0)] if self.cut_after else body)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()


def test_download(server, tmp_path, capsys):
    target = tmp_path / 'new' / 'clip.pt'
    assert download(server.url, target, SHA256) == target
    assert target.read_bytes() == CONTENT
    assert not target.with_name('clip.pt.part').exists()
    assert '100%' in capsys.readouterr().err
    download(server.url, target, SHA256)
    assert server.requests == [None]


def test_a_broken_download_is_continued(server, tmp_path):
    server.cut_after = [1000, 5000]
    target = download(server.url, tmp_path / 'clip.pt', SHA256)
    assert target.read_bytes() == CONTENT
    assert server.requests == [None, 'bytes=1000-', 'bytes=6000-']


def test_a_broken_download_starts_again_without_ranges(server, tmp_path):
    server.cut_after, server.ranges = [1000], False
    assert download(server.url, tmp_path / 'clip.pt', SHA256).read_bytes() == CONTENT


def test_a_later_run_continues(server, tmp_path):
    server.cut_after = [1000] * 2
    with pytest.raises(InputError, match=r'cannot download .*2000 of'):
        download(server.url, tmp_path / 'clip.pt', SHA256, retries=2)
    assert not (tmp_path / 'clip.pt').exists()
    download(server.url, tmp_path / 'clip.pt', SHA256)
    assert server.requests[-1] == 'bytes=2000-'


@pytest.mark.parametrize('extra', [b'', b'more'])
def test_a_part_that_is_already_whole_or_too_long(server, tmp_path, extra):
    (tmp_path / 'clip.pt.part').write_bytes(CONTENT + extra)
    assert download(server.url, tmp_path / 'clip.pt', SHA256).read_bytes() == CONTENT


def test_wrong_hash(server, tmp_path):
    with pytest.raises(InputError, match=f'SHA-256 {SHA256}, expected {"0" * 64}'):
        download(server.url, tmp_path / 'clip.pt', '0' * 64)
    assert not list(tmp_path.glob('clip.pt')) and not list(tmp_path.glob('*.part'))


def test_a_damaged_file_is_fetched_again(server, tmp_path):
    (tmp_path / 'clip.pt').write_bytes(b'damaged')
    assert download(server.url, tmp_path / 'clip.pt', SHA256).read_bytes() == CONTENT


def test_missing_on_the_server_is_not_tried_again(server, tmp_path):
    with pytest.raises(InputError, match=r'404.*put it at .*clip.pt'):
        download(server.url.replace('clip', 'other'), tmp_path / 'clip.pt', SHA256)
    assert len(server.requests) == 1


def test_no_server(tmp_path):
    with pytest.raises(InputError, match='cannot download'):
        download('http://127.0.0.1:9/clip.pt', tmp_path / 'clip.pt', SHA256, retries=1)


def test_eight_processes_download_once(server, tmp_path):
    context = multiprocessing.get_context('fork')
    arguments = server.url, tmp_path / 'clip.pt', SHA256
    processes = [context.Process(target=download, args=arguments) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    assert len(server.requests) == 1
    assert sha256_of(tmp_path / 'clip.pt') == SHA256


def test_a_clip_by_name(tmp_path, monkeypatch):
    torch.save(seeded_clip(), tmp_path / 'source.pt')
    content = (tmp_path / 'source.pt').read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    server = Server(content)
    monkeypatch.setenv('SCLIP_DOWNLOAD_ROOT', str(tmp_path / 'root'))
    monkeypatch.setattr(checkpoint, 'OPENAI_CLIP', {'ViT-B/16': (sha256, 'clip.pt')})
    monkeypatch.setattr(checkpoint, 'openai_url', lambda *args: server.url)
    assert 'visual.proj' in checkpoint.load_clip('ViT-B/16')[0]
    assert (tmp_path / 'root/clip.pt').read_bytes() == content
    server.http.shutdown()
