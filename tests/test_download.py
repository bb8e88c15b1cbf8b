"""Downloads from a server on this machine."""

import hashlib
import io
import multiprocessing
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from filelock import FileLock
from helpers import seeded_clip

from sclip_mmseg import InputError
from sclip_mmseg.towers import checkpoint
from sclip_mmseg.towers.repository import Published
from sclip_mmseg.utils import files
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
        self.headers = {}  # besides the usual ones, or in their place; None for none
        self.redirect = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f'http://127.0.0.1:{self.http.server_port}/clip.pt'

    def answer(self, request):
        wanted = request.headers.get('Range')
        self.requests.append(wanted)
        if request.path.rpartition('.')[0] != '/clip':
            request.send_error(404)
            return
        if self.redirect:
            request.send_response(302)
            request.send_header('Location', self.redirect)
            request.end_headers()
            return
        if request.headers.get('If-Range', self.headers.get('ETag')) != self.headers.get('ETag'):
            wanted = None  # another version
        start = int(wanted[len('bytes=') : -1]) if wanted and self.ranges else 0
        if start >= len(self.content):
            request.send_response(416)
            request.send_header('Content-Range', f'bytes */{len(self.content)}')
            request.end_headers()
            return
        body = self.content[start:]
        request.send_response(206 if start else 200)
        usual = {'Content-Length': str(len(body))}
        if start:
            end, total = len(self.content) - 1, len(self.content)
            usual['Content-Range'] = f'bytes {start}-{end}/{total}'
        for name, value in {**usual, **self.headers}.items():
            if value is not None:
                request.send_header(name, value)
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
    with pytest.raises(InputError, match=r'404.*save it as .*clip.pt'):
        download(server.url.replace('clip', 'other'), tmp_path / 'clip.pt', SHA256)
    assert len(server.requests) == 1


def test_no_server(tmp_path):
    with pytest.raises(InputError, match='cannot download'):
        download('http://127.0.0.1:9/clip.pt', tmp_path / 'clip.pt', SHA256, retries=1)


def _weights(**tensors):
    buffer = io.BytesIO()
    torch.save(tensors or {'a': torch.arange(3000.0)}, buffer)
    return buffer.getvalue()


def _kept(folder):
    return [path.name for path in folder.iterdir() if path.suffix != '.lock']


def test_without_a_checksum(server, tmp_path):
    server.content = _weights()
    target = download(server.url, tmp_path / 'clip.pt', None)
    assert target.read_bytes() == server.content and _kept(tmp_path) == ['clip.pt']


@pytest.mark.parametrize('url', ['http://example.com/clip.pt', 'ftp://example.com/x', 'file:///x'])
def test_only_what_is_encrypted_is_fetched(tmp_path, server, url):
    with pytest.raises(InputError, match=rf'^{url} is not downloaded because it does not'):
        download(url, tmp_path / 'clip.pt', SHA256)
    server.redirect = url
    with pytest.raises(InputError, match=f'^{server.url} redirects to {url} is not downloaded'):
        download(server.url, tmp_path / 'clip.pt', SHA256)
    assert len(server.requests) == 1 and _kept(tmp_path) == []


PAGE = b'<html><body>Please sign in to the network</body></html>'


@pytest.mark.parametrize('digest', [None, SHA256])
@pytest.mark.parametrize('content_type', ['text/html; charset=utf-8', None])
def test_a_page_of_the_network_is_not_kept(server, tmp_path, digest, content_type):
    server.content, server.headers = PAGE, {'Content-Type': content_type}
    message = 'returned a web page' if content_type else 'is a web page|has SHA-256'
    with pytest.raises(InputError, match=f'{server.url} ({message}).*clip.pt$'):
        download(server.url, tmp_path / 'clip.pt', digest)
    assert _kept(tmp_path) == []
    server.content, server.headers = _weights(), {}
    (tmp_path / 'clip.pt').write_bytes(PAGE)  # which a version before kept
    download(server.url, tmp_path / 'clip.pt', None)
    assert (tmp_path / 'clip.pt').read_bytes() == server.content


@pytest.mark.parametrize('headers', [{'ETag': '"1"'}, {'Last-Modified': 'Mon'}, {}])
def test_a_part_is_continued_only_of_the_same_version(server, tmp_path, headers):
    server.content, server.headers, server.cut_after = _weights(), headers, [1000]
    with pytest.raises(InputError, match='1000 of'):
        download(server.url, tmp_path / 'clip.pt', None, retries=1)
    if 'ETag' in headers:
        server.cut_after = [1000]
        with pytest.raises(InputError, match='2000 of'):
            download(server.url, tmp_path / 'clip.pt', None, retries=1)
        assert server.requests[-1] == 'bytes=1000-'
        server.headers = {'ETag': '"2"'}
    server.content = _weights(a=torch.arange(5000.0) + 7)
    download(server.url, tmp_path / 'clip.pt', None)
    assert (tmp_path / 'clip.pt').read_bytes() == server.content
    assert _kept(tmp_path) == ['clip.pt']


def test_a_part_of_another_version_is_discarded(server, tmp_path):
    (tmp_path / 'clip.pt.part').write_bytes(b'another version')
    assert download(server.url, tmp_path / 'clip.pt', SHA256).read_bytes() == CONTENT
    assert server.requests == ['bytes=15-', None]


def test_another_part_than_was_asked_for(server, tmp_path):
    (tmp_path / 'clip.pt.part').write_bytes(CONTENT[:10])
    server.headers = {'Content-Range': f'bytes 0-9/{len(CONTENT)}'}
    assert download(server.url, tmp_path / 'clip.pt', SHA256).read_bytes() == CONTENT
    assert server.requests == ['bytes=10-', None]


def test_a_length_that_is_not_stated(server, tmp_path):
    server.content, server.headers = _weights(), {'Content-Length': None}
    with pytest.raises(InputError, match='states neither a length nor a checksum'):
        download(server.url, tmp_path / 'clip.pt', None)
    sha256 = hashlib.sha256(server.content).hexdigest()
    assert download(server.url, tmp_path / 'clip.pt', sha256).read_bytes() == server.content


@pytest.mark.parametrize('length', ['x', '-5', '10'])
def test_a_length_that_is_wrong(server, tmp_path, length):
    server.content, server.headers = _weights(), {'Content-Length': length}
    with pytest.raises(InputError, match='neither a length|is a zip archive that is truncated'):
        download(server.url, tmp_path / 'clip.pt', None, retries=2)
    assert not (tmp_path / 'clip.pt').exists()


def test_a_file_too_large_for_the_disk(server, tmp_path):
    server.headers = {'Content-Length': str(1 << 60)}
    with pytest.raises(
        InputError, match=r'has 1073741824.0 GiB, but only .* free in .* name another'
    ):
        download(server.url, tmp_path / 'clip.pt', SHA256)
    assert len(server.requests) == 1


def test_a_disk_that_is_full(server, tmp_path):
    (tmp_path / 'clip.pt.part').symlink_to('/dev/full')
    with pytest.raises(InputError, match=r'cannot write to .*No space left.*SCLIP_DOWNLOAD_ROOT'):
        download(server.url, tmp_path / 'clip.pt', SHA256)
    assert len(server.requests) == 1  # more of them would not help


def test_a_folder_in_the_file_s_place(server, tmp_path):
    (tmp_path / 'clip.pt').mkdir()
    with pytest.raises(InputError, match='cannot write to .*irectory'):
        download(server.url, tmp_path / 'clip.pt', SHA256)


@pytest.mark.parametrize('content', [PAGE, b'PK\x03\x04' + bytes(100), b'{}'])
def test_an_archive_without_a_checksum(server, tmp_path, content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        archive.writestr('a.png', bytes(100))
    url = server.url.replace('.pt', '.zip')
    server.content = content
    with pytest.raises(InputError, match=f'the file from {url} is .* not a complete zip archive'):
        download(url, tmp_path / 'clip.zip', None)
    server.content = buffer.getvalue()
    assert download(url, tmp_path / 'clip.zip', None).read_bytes() == buffer.getvalue()


def test_ctrl_c_leaves_a_part_to_resume_from(server, tmp_path, monkeypatch):
    def interrupt(self, count):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr('tqdm.tqdm.update', interrupt)
        download(server.url, tmp_path / 'clip.pt', SHA256)
    have = (tmp_path / 'clip.pt.part').stat().st_size
    assert 0 < have < len(CONTENT)
    assert download(server.url, tmp_path / 'clip.pt', SHA256).read_bytes() == CONTENT
    assert server.requests[-1] == f'bytes={have}-'


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(files, '_LOCK_TIMEOUT', 0.3)
    monkeypatch.setattr(files, '_LOCK_REPORTED', 0.05)
    said = []
    monkeypatch.setattr(files, 'print_log', lambda message, *_: said.append(message))
    return said


def test_waiting_for_a_held_lock_is_reported_and_ends(server, tmp_path, impatient):
    with FileLock(tmp_path / 'clip.pt.lock'):
        with pytest.raises(
            InputError, match=r'clip.pt.lock has been held by another process for 0 s'
        ):
            download(server.url, tmp_path / 'clip.pt', SHA256)
    assert impatient == [f'Waiting for another process that holds {tmp_path / "clip.pt.lock"}']
    assert server.requests == []


def test_a_process_that_works_is_waited_for(server, tmp_path, impatient):
    lock = FileLock(tmp_path / 'clip.pt.lock', thread_local=False).acquire().lock

    def work():
        for count in range(10):
            (tmp_path / 'clip.pt.part').write_bytes(CONTENT[: 1 + count])
            time.sleep(0.1)
        lock.release()

    thread = threading.Thread(target=work)
    thread.start()
    assert download(server.url, tmp_path / 'clip.pt', SHA256).read_bytes() == CONTENT
    thread.join()
    assert len(impatient) == 1


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
    monkeypatch.setitem(checkpoint.CLIPS, 'ViT-B/16', Published(server.url, sha256))
    assert 'visual.proj' in checkpoint.load_clip('ViT-B/16')[0]
    assert (tmp_path / 'root/clip.pt').read_bytes() == content
    server.http.shutdown()
