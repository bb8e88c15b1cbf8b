"""What the page's server gives away, and to whom: requests to the application itself."""

import asyncio
import json
import os
import tempfile
from importlib.util import find_spec
from threading import Thread
from unittest import mock

import numpy as np
import pytest
from helpers import ROOT, require
from PIL import Image

from sclip_mmseg.utils.errors import InputError
from sclip_mmseg.web import Hosts, Session, limits
from sclip_mmseg.web.server import build_app, private_folder

IMAGE = ROOT / 'data/toy/VOCdevkit/VOC2012/JPEGImages/toy_000003.jpg'
META = {'_type': 'gradio.FileData'}
pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning')  # of pandas in Gradio
API = '/gradio_api'
CHOICES = ['sclip', '', False, '', 0.5, '']


class Site:
    """The page, and what a browser sends to it."""

    def __init__(self, client, folder, session):
        self.client, self.folder, self.session = client, folder, session
        config = client.get('/config').json()
        [self.run] = [d['id'] for d in config['dependencies'] if d['api_name'] == 'run']
        self.parts = {c['props'].get('elem_id'): c['props'] for c in config['components']}

    def upload(self, name='a.jpg', data=None):
        head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = head.encode('utf-8', 'surrogateescape') + (data or IMAGE.read_bytes())
        kind = {'content-type': 'multipart/form-data; boundary=x'}
        answer = self.client.post(f'{API}/upload', content=body + b'\r\n--x--\r\n', headers=kind)
        assert answer.status_code == 200, answer.text
        return answer.json()[0]

    def join(self, image_path, classes='sheep; bottle', user='one'):
        body = dict(data=[image_path, classes, *CHOICES], fn_index=self.run, session_hash=user)
        return self.client.post(f'{API}/queue/join', json=body)

    def answer(self, user='one'):
        """The answer as a user sees it: a message, and files by address."""
        text = self.client.get(f'{API}/queue/data?session_hash={user}').text
        lines = [json.loads(line[6:]) for line in text.splitlines() if line.startswith('data: ')]
        [message] = [m for m in lines if m['msg'] == 'process_generating']
        alert, _, slider, _, *files = message['output']['data']
        return alert['value'], [file['url'] for file in [*(slider or []), *files] if file]

    def ask(self, path, *args):
        self.join({'path': path, 'meta': META}, *args)
        return self.answer(*args[1:])


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    require(find_spec('gradio'), 'Gradio (pip install -e ".[web]")')
    place = mock.patch.object(tempfile, 'tempdir', str(tmp_path_factory.mktemp('temporary')))
    with place, private_folder() as folder:
        from starlette.testclient import TestClient

        session = Session(device='cpu')
        app = build_app(session, folder, Hosts('127.0.0.1', ['mine.example']))
        with TestClient(app, base_url='http://127.0.0.1:7860') as client:
            yield Site(client, folder, session)
    assert not folder.parent.exists()


def _pixels(site, url):
    answer = site.client.get(url)
    assert answer.status_code == 200, answer.text
    path = site.folder / 'seen'
    path.write_bytes(answer.content)
    return np.array(Image.open(path))


@pytest.fixture(scope='module')
def secret(tmp_path_factory):
    path = tmp_path_factory.mktemp('elsewhere') / 'secret.png'
    Image.new('RGB', (40, 40)).save(path)
    return path


def test_only_uploads_are_read(site, secret):
    link = site.folder / 'link.png'
    link.symlink_to(secret)
    own = site.upload()
    for payload in (
        dict(path=str(secret)),
        dict(path=str(secret), meta=META),
        dict(path=str(link), meta=META),
        dict(path=f'{site.folder}/../../{os.path.relpath(secret, site.folder.parent.parent)}'),
        dict(path=os.path.relpath(secret)),
        dict(path=secret.as_uri()),
        dict(path='http://127.0.0.1:1/x.png', meta=META),
        dict(path='https://huggingface.co/x.png', meta=META),
        dict(path='data:image/png;base64,AAAA', meta=META),
        dict(path=own, url='http://127.0.0.1:1/x.png', meta=META),
        dict(path=own, url=secret.as_uri(), meta=META),
        dict(path=own, url='data:image/png;base64,AAAA', meta=META),
        dict(path=own, url='http://[', meta=META),
        dict(path=None, url='http://127.0.0.1:7860/x.png', meta=META),
        dict(path=[str(secret)]),
        dict(path='a\0.png'),
        [[dict(image=dict(path=str(secret), meta=META))]],
    ):
        answer = site.join(payload)
        assert answer.status_code == 403 and 'not uploaded here' in answer.text, payload
        assert site.join(own, payload).status_code == 403, payload
    half = json.dumps(dict(data=[{'path': '\ud800'}], fn_index=site.run, session_hash='one'))
    assert site.client.post(f'{API}/queue/join', content=half).status_code == 403


def test_examples_and_uploads_are_read(site):
    [example] = [site.parts['image']['value']]
    assert site.join(example).status_code == 200
    assert site.answer()[0] == ''
    for [sample] in site.parts['examples']['samples']:
        assert site.client.get(sample['url']).status_code == 200
    path = site.upload()
    url = f'http://127.0.0.1:7860{API}/file={path}'
    assert site.join(dict(path=path, url=url, meta=META)).status_code == 200
    assert site.answer()[0] == ''


@pytest.mark.parametrize(
    'method, path',
    [
        *[('POST', f'{API}/{way}/run') for way in ('run', 'api', 'call', 'call/v2')],
        *[('POST', f'{API}/{way}/choose') for way in ('run', 'call')],
        *[('POST', f'{API}/{name}') for name in ('component_server', 'process_recording')],
        *[
            ('POST', f'{API}/{name}')
            for name in ('vibe-edit', 'vibe-code', 'stream/x', 'queue/joi')
        ],
        *[('GET', f'{API}/{name}') for name in ('dev/reload', 'proxy=http://127.0.0.1:1/', 'runs')],
        *[('GET', f'{API}/{name}') for name in ('deep_link', 'openapi.json', 'queue/status')],
        *[('GET', path) for path in ('/monitoring', '/docs', '/file=/etc/passwd', '/login')],
        *[(method, '/') for method in ('POST', 'PUT', 'DELETE', 'OPTIONS')],
    ],
)
def test_other_routes_are_closed(site, method, path, secret):
    body = None if method == 'GET' else dict(data=[dict(path=str(secret))], fn_index=site.run)
    assert site.client.request(method, path, json=body).status_code == 404


def test_other_files_are_not_served(site, secret):
    link = site.folder / 'other.png'
    link.symlink_to(secret)
    here = f'{site.folder}/../../../../../etc/passwd'
    for path in (
        secret,
        link,
        '/etc/passwd',
        here,
        'README.md',
        'http://127.0.0.1:1/',
        ROOT,
        '%00',
    ):
        assert site.client.get(f'{API}/file={path}').status_code == 403, path


@pytest.mark.parametrize(
    'headers, named',
    [
        ({'host': 'evil.example'}, 'evil.example'),
        ({'host': 'evil.example:7860'}, 'evil.example'),
        ({'host': '10.0.0.1:7860'}, '10.0.0.1'),
        ({'host': 'localhost.evil.example'}, 'localhost.evil.example'),
        ({'host': 'localhost@evil.example'}, 'NAME'),
        ({'host': ''}, 'NAME'),
        ({'x-forwarded-host': 'evil.example'}, 'evil.example'),
        ({'origin': 'http://evil.example'}, 'evil.example'),
        ({'origin': 'http://127.0.0.1:8000'}, '127.0.0.1'),
        ({'origin': 'null'}, 'NAME'),
        ({'origin': 'http://['}, 'NAME'),
    ],
)
def test_other_hosts_and_origins_are_refused(site, headers, named):
    ways = (('GET', '/'), ('POST', f'{API}/upload'), ('POST', f'{API}/queue/join'))
    for method, path in (*ways, ('GET', f'{API}/queue/data?session_hash=x'), ('OPTIONS', '/')):
        answer = site.client.request(method, path, headers=headers)
        assert answer.status_code == 403 and answer.text.endswith(f'--allow-host {named}.\n')


def test_own_hosts_and_origins(site):
    for host in ('127.0.0.1:7860', 'localhost:9000', 'LOCALHOST', '[::1]:7860', 'Mine.Example.'):
        for more in ({}, {'origin': f'https://{host.lower()}'}, {'origin': 'https://mine.example'}):
            assert site.client.get('/', headers={'host': host, **more}).status_code == 200, host
    headers = {'x-forwarded-host': 'mine.example', 'origin': 'https://mine.example'}
    assert site.client.get('/', headers=headers).status_code == 200
    own = {'path': (path := site.upload()), 'url': f'https://mine.example{API}/file={path}'}
    body = dict(data=[own, 'a; b', *CHOICES], fn_index=site.run, session_hash='one')
    assert site.client.post(f'{API}/queue/join', json=body, headers=headers).status_code == 200
    assert site.answer()[0] == ''


@pytest.mark.parametrize(
    'bound, host, own',
    [
        ('0.0.0.0', '192.168.1.7:7860', True),
        ('::', '[2001:db8::1]', True),
        ('0.0.0.0', 'my-machine', False),
        ('192.168.1.7', '192.168.1.7', True),
        ('192.168.1.7', '192.168.1.8', False),
    ],
)
def test_addresses_of_this_machine(bound, host, own):
    assert (Hosts(bound).refuse([host], f'http://{host}') is None) == own
    assert Hosts(bound, ['my-machine', '192.168.1.8']).refuse([host], None) is None


@pytest.mark.parametrize('name', ['', 'https://a.example', 'a.example/', '*', 'a b'])
def test_names_that_are_none(name):
    with pytest.raises(InputError, match='--allow-host') as error:
        Hosts('127.0.0.1', [name])
    assert '\n' not in str(error.value)


def test_large_requests(site, monkeypatch):
    post = site.client.post
    assert post(f'{API}/queue/join', content=b'x' * 300_000).status_code == 413
    assert post(f'{API}/queue/join', content=b'[' * 100_000).status_code == 400
    assert post(f'{API}/queue/join', content=b'x').status_code == 400
    for path in ('queue/join', 'upload'):
        assert post(f'{API}/{path}', content=iter([b'{}'])).status_code == 411
    headers = {'content-length': '1000000000'}
    assert post(f'{API}/upload', content=b'x', headers=headers).status_code == 413


@pytest.mark.parametrize(
    'name',
    [
        *('left.jpg', 'right.jpg', 'left_overlay.jpg', '..jpg', '.jpg', '...', '../../up.jpg'),
        *('/etc/up.jpg', 'x' * 300 + '.jpg', 'ü' * 150, "é %#?&<b>'.jpg", 'CON', '\udcff.jpg'),
    ],
)
def test_names_of_uploads_harm_nothing(site, name):
    before = sorted(site.folder.parent.parent.iterdir())
    message, urls = site.ask(site.upload(name))
    assert message == '' and len(urls) == 4
    left, right, overlay, labels = (_pixels(site, url) for url in urls)
    original = np.array(Image.open(IMAGE))
    assert left.shape == right.shape == original.shape and (left != right).any()
    assert np.abs(left.astype(int) - original).mean() < 3  # of JPEG
    assert overlay.shape[1] > 500 and labels.shape == original.shape[:2]
    assert [path.name for path in site.folder.parent.iterdir()] == ['uploads']
    assert sorted(site.folder.parent.parent.iterdir()) == before


def test_long_lists_of_classes_are_refused_at_once(site, monkeypatch):
    monkeypatch.setattr(site.session, 'segmentor', None)
    message, urls = site.ask(site.upload(), '\n'.join(map(str, range(20_000))))
    assert 'has 108889 characters, and the page allows 4000' in message and not urls


def test_users_see_their_own_results(site):
    paths = [site.upload('same.jpg', data) for data in (None, b'no image')]
    for path, user in zip(paths, ('one', 'two')):
        site.join({'path': path, 'meta': META}, 'sheep; bottle', user)
    (empty, urls), (message, none) = site.answer('one'), site.answer('two')
    assert 'same.jpg cannot be read' in message and not none
    assert empty == '' and len(urls) == 4


def test_questions_of_users_who_left_are_dropped(site, monkeypatch):
    monkeypatch.setattr(limits, '_PATIENCE', 0.2)
    asked, answer = [], site.session.answer
    monkeypatch.setattr(
        site.session, 'answer', lambda q, f: asked.append(q.classes) or answer(q, f)
    )
    for user in range(3):
        site.join({'path': site.upload(), 'meta': META}, 'gone; left', f'gone {user}')
    assert site.ask(site.upload(), 'sheep; bottle', 'there')[0] == ''
    assert asked == ['sheep; bottle']


def test_listeners():
    require(find_spec('gradio'), 'Gradio (pip install -e ".[web]")')
    from sclip_mmseg.web.guard import Guard, Listeners

    async def stream(scope, receive, send):
        await asyncio.sleep(60)

    async def leave():
        guard = Guard(stream, ROOT, Hosts('127.0.0.1'), listeners)
        scope = dict(type='http', method='GET', path=f'{API}/queue/data', query_string=query)
        scope['headers'] = [(b'host', b'localhost')]
        tasks = [asyncio.create_task(guard(scope, None, None)) for _ in range(2)]
        for task in tasks:
            await asyncio.sleep(0)
            assert 'a b' in listeners and 'other' not in listeners
            task.cancel()
            await asyncio.wait([task])

    listeners, query = Listeners(), b'session_hash=a+b'
    asyncio.run(leave())
    assert 'a b' not in listeners


def test_uploads_that_are_broken_off(site):
    app = site.client.app
    part, other = site.folder / 'tmp1', site.folder / 'tmp2'
    for path in (part, other):
        path.touch()
    os.utime(part, (0, 0))
    headers = {b'host': b'localhost', b'content-length': b'100'}
    headers[b'content-type'] = b'multipart/form-data; boundary=x'
    messages = [dict(type='http.request', body=b'--x\r\n', more_body=True)]
    messages.append(dict(type='http.disconnect'))

    async def receive():
        return messages.pop(0)

    async def send(message):
        pass

    scope = dict(type='http', method='POST', path=f'{API}/upload', query_string=b'')
    asyncio.run(app(dict(scope, headers=[*headers.items()]), receive, send))
    assert not part.exists() and other.exists() and not messages
    other.unlink()


def test_sockets_are_closed(site):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), site.client.websocket_connect('/'):
        pass


def test_the_queue_is_bounded(site):
    statuses, paths = [], [site.upload() for _ in range(2)]

    def ask():
        statuses.append(site.join({'path': paths[0], 'meta': META}, 'a; b', 'many').status_code)

    users = [Thread(target=ask) for _ in range(70)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert {200, 503} == set(statuses)


def test_files_that_are_removed_meanwhile_are_passed_over(tmp_path):
    """Gradio removes files after an hour."""
    require(find_spec('gradio'), 'Gradio (pip install -e ".[web]")')
    from sclip_mmseg.web import guard

    (tmp_path / 'there').write_text('four')
    (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
    paths = [tmp_path / 'gone', tmp_path / 'loop', tmp_path / 'there', tmp_path]
    assert [(path.name, status.st_size) for path, status in guard._files(paths)] == [('there', 4)]
