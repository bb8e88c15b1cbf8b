"""The web page in a real browser, if one is installed."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from unittest import mock
from urllib.request import urlopen

import numpy as np
import pytest
from helpers import ROOT, call_tool, chromium, fork_tool, require
from PIL import Image

from sclip_mmseg import apis, zoo
from sclip_mmseg.cli.web import LARGEST
from sclip_mmseg.web import session, style

TOOL = ROOT / 'tools/web_demo.py'
TOY_CLIP = ROOT / 'data/toy/toy_clip.safetensors'
IMAGE = ROOT / 'data/toy/VOCdevkit/VOC2012/JPEGImages/toy_000003.jpg'
SCREENSHOT = ROOT / 'work_dirs/web_demo_{}.png'
PROXIES = {name: 'http://127.0.0.1:9' for name in ('http_proxy', 'HTTP_PROXY', 'https_proxy')}
PROXIES.update(ALL_PROXY='socks5://127.0.0.1:9', all_proxy='socks5://127.0.0.1:9')
DESKTOP, PHONE = 1280, 390  # pixels
FLAGS = (
    '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --window-size=1280,1000 '
    '--disable-background-networking --disable-component-update --disable-sync '
    '--disable-dev-shm-usage'
).split()


def test_bad_arguments():
    output = call_tool(TOOL, '--clip', 'absent.pt', check=False).stdout
    lacks = find_spec('gradio') is None
    expected = 'Gradio is not installed' if lacks else 'absent.pt'
    assert output.startswith('error: ') and expected in output


def test_the_decoder_has_the_limit_of_the_page():
    assert LARGEST == session.LARGEST
    command = [sys.executable, '-c', 'import cv2, sys; cv2.imread(sys.argv[1])', IMAGE]
    limit = {**os.environ, 'OPENCV_IO_MAX_IMAGE_PIXELS': '100'}
    result = subprocess.run(command, env=limit, capture_output=True, text=True)
    assert 'CV_IO_MAX_IMAGE_PIXELS' in result.stderr


@pytest.fixture
def taken():
    """A port that another program serves."""
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        server.listen()
        yield server.getsockname()[1]


def test_addresses_that_cannot_be_used(taken, monkeypatch):
    require(find_spec('gradio'), 'Gradio (pip install -e ".[web]")')

    def complain(*arguments):
        return call_tool(TOOL, '--clip', 'absent.pt', *arguments, check=False).stdout

    expected = f'error: port {taken} of 127.0.0.1 is in use: choose another one by --port\n'
    assert complain('--port', taken) == expected
    assert complain('--port', 70000).startswith('error: --port 70000 does not exist: ')
    for host in ('192.0.2.1', 'a b', 'x' * 100):
        assert complain('--host', host).startswith(f'error: --host {host} is not an address of')
    for name in ('https://a.example', '*'):
        output = complain('--port', 0, '--allow-host', name)
        assert output.startswith(f"error: --allow-host '{name}' is not a host name")
    monkeypatch.setattr(socket.socket, 'bind', mock.Mock(side_effect=PermissionError(13, 'no')))
    expected = 'error: this account may not use port 80: choose one from 1024 by --port\n'
    assert complain('--port', 80) == expected


def test_interrupted(tmp_path):
    require(find_spec('gradio'), 'Gradio (pip install -e ".[web]")')
    log = tmp_path / 'log'
    log.touch()
    with mock.patch.object(tempfile, 'tempdir', str(tmp_path)):
        server = fork_tool(TOOL, '--port', 0, '--device', 'cpu', log=log)
    try:
        _wait(lambda: 'http://127.0.0.1:' in log.read_text() or not server.is_alive(), 90)
        os.kill(server.pid, signal.SIGINT)
        server.join(20)
        assert server.exitcode == 130
    finally:
        server.kill()
    assert log.read_text().splitlines()[-1] == 'interrupted'
    assert list(tmp_path.iterdir()) == [log]


@pytest.fixture
def url(tmp_path):
    """Address of the tool, running, with proxies in the environment that do not answer."""
    require(find_spec('gradio'), 'Gradio (pip install -e ".[web]")')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    address = f'http://127.0.0.1:{port}'
    command = [sys.executable, TOOL, '--port', str(port), '--device', 'cpu']
    log = tmp_path / 'server.log'
    (tmp_path / 'gradio').touch()  # where Gradio would write; another user's folder is no better
    with open(log, 'w') as output:
        server = subprocess.Popen(
            command,
            cwd='/',  # examples are found from anywhere
            stdout=output,
            stderr=output,
            env={**os.environ, 'TMPDIR': str(tmp_path)},
        )
    try:
        _wait(lambda: address in log.read_text() or server.poll() is not None, 90)
        assert server.poll() is None, log.read_text()
        assert style.TOY_HINT in log.read_text().splitlines()
        assert log.read_text().count(zoo.TOY) == 1
        [folder] = tmp_path.glob('sclip_web_*')
        assert folder.stat().st_mode & 0o777 == 0o700
        yield address
        server.terminate()
        assert server.wait(20) == 128 + signal.SIGTERM
        assert not folder.exists()
        assert 'Traceback' not in log.read_text() and 'ERROR' not in log.read_text()
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def browser(tmp_path):
    """Headless Chromium."""
    with chromium(tmp_path / 'profile', FLAGS, {'performance': 'ALL'}) as chrome:
        yield chrome


def _wait(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, 'nothing happened on the page'
        time.sleep(0.1)
    return result


class Page:
    """Actions on the page, and what it shows."""

    def __init__(self, browser, url):
        self.browser = browser
        browser.get(url)

    def all(self, selector):
        """Visible elements of a selector."""
        found = self.browser.find_elements('css selector', selector)
        return [element for element in found if element.is_displayed()]

    def upload(self, path):
        [box] = self.browser.find_elements('css selector', '#image input[type=file]')
        box.send_keys(str(path))

    def segment(self, classes):
        [box] = self.all('#classes textarea')
        box.clear()
        box.send_keys(classes)
        self.all('#segment')[0].click()

    def choose(self, dropdown, name):
        self.all(f'{dropdown} input')[0].click()
        _wait(lambda: self.all('[role=option]'))
        [option] = [o for o in self.all('[role=option]') if o.text.strip(' ✓\n') == name]
        option.click()

    def sources(self):
        """Addresses of the images left and right of the slider."""
        return [image.get_attribute('src') for image in self.all('#slider img')]

    def new_result(self, old=()):
        """Wait for a result other than an old one; its addresses."""
        return _wait(lambda: len(self.sources()) == 2 and self.sources() != old and self.sources())

    def download(self, button, path):
        """Click a button; the image that lies at a path then."""
        where = dict(behavior='allow', downloadPath=str(path.parent))
        self.browser.execute_cdp_cmd('Browser.setDownloadBehavior', where)
        self.all(button)[0].click()
        _wait(path.is_file)
        return np.array(Image.open(path))

    def message(self):
        return ' '.join(element.text for element in self.all('#message [role=alert]'))

    def areas(self):
        """Classes that are listed."""
        return [cell.text for cell in self.all('.areas td:first-child') if cell.text]

    def screenshot(self, width):
        """Save an image of the page at a width; the width that the page takes."""
        size = dict(width=width, height=900, deviceScaleFactor=1, mobile=width == PHONE)
        self.browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', size)
        SCREENSHOT.parent.mkdir(exist_ok=True)
        assert self.browser.save_screenshot(str(SCREENSHOT).format(width))
        return self.browser.execute_script('return document.documentElement.scrollWidth')

    def traffic(self):
        """Addresses asked for over the network, and those whose answer was an error."""
        entries = [json.loads(e['message'])['message'] for e in self.browser.get_log('performance')]
        sent = [e['params'] for e in entries if e['method'] == 'Network.requestWillBeSent']
        got = [e['params'] for e in entries if e['method'] == 'Network.responseReceived']
        urls = [params['request']['url'] for params in sent]
        answers = [params['response'] for params in got]
        return (
            [address for address in urls if address.startswith(('http', 'ws'))],
            [answer['url'] for answer in answers if answer['status'] >= 400],
        )


def _open(address):
    return np.array(Image.open(io.BytesIO(urlopen(address).read())))


def test_page(browser, url, tmp_path):
    page = Page(browser, url)
    example = page.new_result()  # the page begins with one
    assert page.all('#banner [role=alert]')[0].text == style.TOY_NOTICE
    [command] = page.all('#banner span')
    assert command.text == style.TOY_COMMAND
    assert command.value_of_css_property('white-space') in ('nowrap', 'nowrap collapse')
    assert page.message() == '' and 'cow' in page.areas()

    page.upload(IMAGE)
    first = page.new_result(example)
    page.segment('sheep, lamb\nbottle; television\nzebra')
    second = page.new_result(first)
    model = apis.build_segmentor(
        ['sheep, lamb', 'bottle', 'television', 'zebra'], method='sclip', clip=str(TOY_CLIP)
    )
    expected = apis.segment(model, IMAGE)
    areas = expected.areas
    assert sorted(page.areas()) == sorted(name for name in areas if areas[name])
    labels = page.download('#labels', tmp_path / 'toy_000003_labels.png')
    assert (labels == expected.labels).all()
    overlay = page.download('#overlay', tmp_path / 'toy_000003_overlay.jpg')
    assert overlay.shape[1] > 500
    left, right = map(_open, second)
    assert left.shape == right.shape == (375, 500, 3)

    assert not page.all('#threshold') and not page.all('#words')
    page.choose('#other', 'naclip')
    third = page.new_result(second)
    assert (_open(third[1]) == right).all() and (_open(third[0]) != left).any()
    assert [cell.text for cell in page.all('.areas th')] == ['naclip', 'sclip']
    for width in (PHONE, DESKTOP):
        assert page.screenshot(width) <= width
    page.all('#background input')[0].click()
    page.new_result(third)
    assert page.all('#threshold') and page.all('#words')

    page.segment(' ')
    _wait(lambda: page.message().startswith('there is no class'))
    assert not page.sources() and not page.all('#overlay')
    page.segment('cat; dog')
    page.new_result()
    assert page.message() == ''
    (tmp_path / 'broken.jpg').write_text('no image')
    page.upload(tmp_path / 'broken.jpg')
    _wait(lambda: page.message().startswith('broken.jpg cannot be read as an image'))

    requests, refused = page.traffic()
    assert requests and all(address.startswith(url) for address in requests), requests
    assert refused == []
