"""The web page, in a real browser where there is one."""

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from urllib.request import urlopen

import numpy as np
import pytest
from helpers import ROOT, call_tool, require
from PIL import Image

from sclip_mmseg import apis

sys.path.insert(0, str(ROOT / 'tools'))
import web_demo

TOOL = ROOT / 'tools/web_demo.py'
PICTURE = ROOT / 'data/toy/VOCdevkit/VOC2012/JPEGImages/toy_000003.jpg'
CLASSES = ['sheep, lamb', 'bottle', 'television']
SCREENSHOT = ROOT / 'work_dirs/web_demo.png'
FLAGS = (
    '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --window-size=1280,1000 '
    '--disable-background-networking --disable-component-update --disable-sync '
    '--disable-dev-shm-usage'
).split()


@pytest.fixture(scope='module')
def demo():
    return web_demo.Demo(device='cpu')


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError('no network')

    monkeypatch.setattr(urllib.request, 'urlopen', refuse)


# What needs files that have to be fetched.
LACKING = {'corrclip': 'dino_vitbase8_pretrain.pth'}
LACKING.update({name: 'put it at' for name in apis.list_methods() if name.startswith('proxy')})
LACKING.update({name: 'put it at' for name in apis.list_methods() if apis.is_trained(name)})


@pytest.mark.parametrize('method', apis.list_methods())
def test_all_methods_run_on_the_toy_clip_or_say_what_lacks(demo, offline, method):
    overlay, areas, message = demo.segment(str(PICTURE), 'cow; bottle', True, '', 0.1, method)
    if method in LACKING:
        assert message.startswith('Error: ') and LACKING[method] in message
        assert '\n' not in message
        return
    assert message == ''
    assert overlay.shape[0] == 375 and overlay.shape[1] > 500
    assert list(areas) == ['background', 'cow', 'bottle']


def test_background_threshold_and_words(demo):
    def areas(*background):
        return demo.segment(str(PICTURE), 'cow\nbottle', *background, 'sclip')[1]

    assert 'background' not in areas(False, 'wall', 1.0)
    assert areas(True, 'wall', 1.0)['background'] == 1
    assert areas(True, 'wall', 0.0)['background'] < 1
    assert areas(True, 'wall', 0.5) != areas(True, 'sea, water', 0.5)


@pytest.mark.parametrize(
    'name, classes, message',
    [
        (None, 'cat', 'Upload a picture.'),
        ('toy_000003.jpg', ' \n', 'Error: there is no class: write some'),
        ('toy_000003.jpg', 'cat;;dog', 'Error: queries: class 2 has an empty query'),
        ('toy_000003.jpg', 'cat, dog', "Error: every pixel would be 'cat', the only class"),
        ('broken.jpg', 'cat; dog', 'Error: broken.jpg cannot be read as a picture'),
    ],
)
def test_what_is_wrong_is_said(demo, tmp_path, name, classes, message):
    (tmp_path / 'broken.jpg').write_text('no picture')
    shutil.copy(PICTURE, tmp_path)
    path = name and str(tmp_path / name)
    overlay, areas, said = demo.segment(path, classes, False, '', 0.1, 'sclip')
    assert overlay is None and areas == {}
    assert said.startswith(message)
    assert str(tmp_path) not in said


def test_the_toy_clip_says_so(demo):
    require(find_spec('gradio'), 'Gradio (pip install -e ".[web]")')

    def text(demo):
        return json.dumps(web_demo.build_page(demo).get_config_file(), default=str)

    assert demo.is_toy and '--clip ViT-B/16' in web_demo.TOY_NOTICE
    assert web_demo.TOY_NOTICE in text(demo)
    assert web_demo.TOY_NOTICE not in text(web_demo.Demo(demo.clip, 'cpu'))


def test_bad_arguments():
    output = call_tool(TOOL, '--clip', 'absent.pt', check=False).stdout
    lacks = find_spec('gradio') is None
    expected = 'Gradio is not installed' if lacks else 'absent.pt'
    assert output.startswith('error: ') and expected in output


@pytest.fixture
def url(tmp_path):
    """Address of the tool, running."""
    require(find_spec('gradio'), 'Gradio (pip install -e ".[web]")')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    address = f'http://127.0.0.1:{port}'
    command = [sys.executable, TOOL, '--port', str(port), '--device', 'cpu']
    log = tmp_path / 'server.log'
    with open(log, 'w') as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, 'TMPDIR': str(tmp_path)}
        )
    try:
        _wait(lambda: address in log.read_text() or server.poll() is not None, 90)
        assert server.poll() is None, log.read_text()
        assert web_demo.TOY_NOTICE in log.read_text().splitlines()
        yield address
        assert 'Traceback' not in log.read_text()
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture
def browser(tmp_path):
    """Headless Chromium."""
    require(find_spec('selenium'), 'selenium')
    chromium, driver = shutil.which('chromium'), shutil.which('chromedriver')
    require(chromium and driver, 'Chromium with its driver (Debian: chromium, chromium-driver)')
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f'--user-data-dir={tmp_path / "profile"}'):
        options.add_argument(flag)
    options.set_capability('goog:loggingPrefs', {'performance': 'ALL'})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


def _wait(condition, seconds=30):
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, 'nothing happened on the page'
        time.sleep(0.1)
    return result


class Page:
    """What a person does with the page and sees on it."""

    def __init__(self, browser, url):
        self.browser = browser
        browser.get(url)
        _wait(lambda: self._all('#picture input[type=file]'))

    def _all(self, selector):
        return self.browser.find_elements('css selector', selector)

    def upload(self, path):
        self._all('#picture input[type=file]')[0].send_keys(str(path))

    def write_classes(self, text):
        box = self._all('#classes textarea')[0]
        box.clear()
        box.send_keys(text, '\t')

    def choose(self, method):
        box = self._all('#method input')[0]
        box.click()
        _wait(lambda: self._all('[role=option]'))
        [option] = [o for o in self._all('[role=option]') if o.text.strip(' ✓\n') == method]
        option.click()

    def source(self):
        images = self._all('#overlay img')
        return images[0].get_attribute('src') if images else None

    def new_overlay(self, old=None):
        """Wait for an overlay other than an old one; its address, and RGB, uint8 `[H, W, 3]`."""
        address = _wait(lambda: self.source() not in (None, old) and self.source())
        return address, np.array(Image.open(io.BytesIO(urlopen(address).read())).convert('RGB'))

    def banner(self):
        return _wait(lambda: self._all('#banner [role=alert]'))[0].text

    def message(self):
        return self._all('#message textarea')[0].get_property('value')

    def areas(self):
        return self._all('#areas')[0].text

    def requests(self):
        """Addresses asked for over the network."""
        entries = [json.loads(e['message'])['message'] for e in self.browser.get_log('performance')]
        sent = [e['params'] for e in entries if e['method'] == 'Network.requestWillBeSent']
        urls = [params['request']['url'] for params in sent]
        return [address for address in urls if address.startswith(('http', 'ws'))]


def _expected(clip, method):
    model = apis.build_segmentor(CLASSES, method=method, clip=clip, device='cpu')
    result = apis.segment(model, PICTURE)
    image = apis.read_picture(PICTURE)[..., ::-1]
    return apis.draw_overlay(image, result.labels, result.class_names, result.palette)


def test_page(browser, url, demo, tmp_path):
    page = Page(browser, url)
    assert page.banner() == web_demo.TOY_NOTICE
    page.upload(PICTURE)
    address, first = page.new_overlay()

    page.write_classes('sheep, lamb\nbottle; television')
    address, second = page.new_overlay(address)
    assert (second == _expected(demo.clip, web_demo.METHOD)).all()
    assert second.shape != first.shape or (second != first).any()
    assert 'television' in page.areas()

    page.choose('naclip')
    address, third = page.new_overlay(address)
    assert (third == _expected(demo.clip, 'naclip')).all()
    assert page.message() == ''
    SCREENSHOT.parent.mkdir(exist_ok=True)
    assert browser.save_screenshot(str(SCREENSHOT))

    page.write_classes(' ')
    _wait(lambda: page.message().startswith('Error: there is no class'))
    assert page.source() is None
    page.write_classes('cat; dog')
    page.new_overlay()
    (tmp_path / 'broken.jpg').write_text('no picture')
    page.upload(tmp_path / 'broken.jpg')
    _wait(lambda: page.message() == 'Error: broken.jpg cannot be read as a picture')

    requests = page.requests()
    assert requests and all(address.startswith(url) for address in requests), requests
