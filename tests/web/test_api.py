"""The endpoint for programs, by the commands that docs/serving.md shows."""

import contextlib
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from helpers import ROOT, require
from markdown_it import MarkdownIt
from PIL import Image
from served import served

from sclip_mmseg import apis
from sclip_mmseg.web import Session, guard
from sclip_mmseg.zoo import TOY

IMAGE = ROOT / 'data/toy/VOCdevkit/VOC2012/JPEGImages/toy_000003.jpg'
CLASSES = 'sheep, lamb; bottle; cow'
pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning')  # of pandas in Gradio


def block(info):
    """The block of a language that the page shows for programs."""
    page = (ROOT / 'docs/serving.md').read_text(encoding='utf-8')
    tokens = MarkdownIt('commonmark').parse(page.partition('## From programs')[2])
    return next(token.content for token in tokens if token.type == 'fence' and token.info == info)


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    """Address and folder of a server in a thread, and its session."""
    session = Session(device='cpu')
    with served(session, tmp_path_factory.mktemp('temporary')) as (address, folder):
        yield address, folder, session


@pytest.fixture
def folder(server, tmp_path, monkeypatch):
    """A folder with an image, in which commands are typed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('no_proxy', '*')
    shutil.copy(IMAGE, tmp_path / 'photo.jpg')
    return tmp_path


@pytest.fixture(scope='module')
def expected(server):
    """Result of the Python interface for the image."""
    model = apis.build_segmentor(CLASSES, method='sclip', clip=server[2].clip, device='cpu')
    return apis.segment(model, IMAGE)


def check(found, labels, expected):
    assert (labels == expected.labels).all()
    shares = {area['name']: area['share'] for area in found['areas']}
    assert shares == pytest.approx({k: v for k, v in expected.areas.items() if v})
    assert found['method'] == 'sclip' and found['notice'] == TOY


def shown(text, server):
    return text.replace('http://127.0.0.1:7860', server[0]).replace(
        'cat, kitten; sofa; wall', CLASSES
    )


def test_python(server, folder, expected, monkeypatch):
    import gradio_client
    from huggingface_hub import constants

    monkeypatch.setattr(constants, 'HF_HUB_DISABLE_TELEMETRY', True)  # by the client
    monkeypatch.setattr(gradio_client.client, 'DEFAULT_TEMP_DIR', str(folder / 'downloads'))
    names = {}
    exec(shown(block('python'), server), names)
    check(names['found'], np.array(Image.open(names['labels'])), expected)
    assert Image.open(names['overlay']).width > expected.labels.shape[1]
    parameters = names['client'].view_api(return_format='dict', print_info=False)
    assert list(parameters['named_endpoints']) == ['/segment']
    with pytest.raises(gradio_client.exceptions.AppError, match='the only class'):
        names['client'].predict(
            gradio_client.handle_file('photo.jpg'), 'cat', method='sclip', api_name='/segment'
        )


def test_curl(server, folder, expected):
    require(shutil.which('curl'), 'curl')
    command = ['bash', '-ec', shown(block('bash'), server)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    event, data = re.findall(r'event: (\w+)\ndata: (.*)\n', output)[-1]
    assert event == 'complete'
    overlay, labels, found = json.loads(data)
    import httpx

    answer = httpx.get(labels['url'], trust_env=False)
    (folder / 'labels.png').write_bytes(answer.content)
    check(found, np.array(Image.open(folder / 'labels.png')), expected)
    assert httpx.get(overlay['url'], trust_env=False).status_code == 200


def call(server, *data, **more):
    import httpx

    return httpx.post(
        f'{server[0]}/gradio_api/call/segment', json=dict(data=data, **more), trust_env=False
    )


def events(server, event, seconds=60):
    """Events of a call's stream until it ends, or until the time is over."""
    import httpx

    address, lines = f'{server[0]}/gradio_api/call/segment/{event}', []
    with contextlib.suppress(httpx.HTTPError):
        with httpx.stream('GET', address, trust_env=False, timeout=seconds) as answer:
            for line in answer.iter_lines():
                lines.append(line)
    return re.findall(r'event: (\w+)\ndata: (.*)\n', '\n'.join([*lines, '']))


def test_calls_are_checked_as_the_page_is(server, folder):
    rest = CLASSES, 'sclip', False, '', 0.1, ''
    meta = {'_type': 'gradio.FileData'}
    for path in ('/etc/passwd', str(folder / 'photo.jpg'), 'http://127.0.0.1:1/x.png'):
        assert call(server, dict(path=path, meta=meta), *rest).status_code == 403
    assert call(server, None, *rest, session_hash='x').status_code == 400
    event = call(server, None, *rest).json()['event_id']
    kind, said = events(server, event)[-1]
    assert kind == 'error' and 'there is no image' in said


def test_users_do_not_see_each_others_answers(server, folder):
    answers = []
    for classes in ('one; two', 'a; b; c'):
        event = call(server, None, classes, 'sclip', False, '', 0.1, '').json()['event_id']
        answers.append(event)
    found = [events(server, event) for event in answers]
    assert all(each[-1][0] == 'error' for each in found)
    again = [events(server, event, 0.3) for event in (*answers, '0' * 32)]
    assert not any('image' in data for each in again for _, data in each)


def test_uploads_have_limits(server, folder, monkeypatch):
    import httpx

    def upload():
        files = {'files': ('a.jpg', IMAGE.read_bytes())}
        return httpx.post(f'{server[0]}/gradio_api/upload', files=files, trust_env=False)

    assert upload().status_code == 200
    monkeypatch.setattr(guard, 'LARGEST_TOTAL', 10)
    answer = upload()
    assert answer.status_code == 507 and 'come again in an hour' in answer.text
