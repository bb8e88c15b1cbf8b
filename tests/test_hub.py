"""The Hub's client, against a stand-in for the Hub."""

import socket
import time

import pytest
from filelock import FileLock
from hub_server import COMMIT, OLD_COMMIT
from huggingface_hub import constants

from sclip_mmseg import InputError
from sclip_mmseg.towers import resolve_clip
from sclip_mmseg.towers.proxy import find_proxy
from sclip_mmseg.utils import files
from sclip_mmseg.utils.hub import HubName, NotCached, fetch, fetch_first, parse_name, pin


def test_names():
    assert parse_name('hf:org/name') == HubName('org/name', 'main')
    assert parse_name('hf:a-b/c.d_e@v1.0') == HubName('a-b/c.d_e', 'v1.0')
    assert parse_name('hf:org/name@refs/pr/3').revision == 'refs/pr/3'
    assert parse_name('ViT-B/16') is None and parse_name('HF:org/name') is None
    assert str(parse_name('hf:org/name@v1')) == 'hf:org/name@v1'


@pytest.mark.parametrize(
    'text',
    [
        'hf:name',
        'hf:org/name/more',
        'hf:../name',
        'hf:org/..',
        'hf:org/na--me',
        'hf:org/$(touch x)',
        'hf:org/name@',
        'hf:org/name@../../x',
        'hf:org/name@a b',
        'hf:org/na\nme',
        'hf:/org/name',
        'hf:',
    ],
)
def test_wrong_names_are_refused_before_the_network(hub, text):
    for find in (resolve_clip, find_proxy):
        with pytest.raises(InputError, match='is not a name on the Hub: write hf:ORG/NAME'):
            find(text)
    assert hub.requests == []


@pytest.mark.parametrize(
    'text, meant',
    [
        ('HF:org/name', 'hf:org/name'),
        ('huggingface:org/name@v1', 'hf:org/name@v1'),
        ('hf-hub:org/name', 'hf:org/name'),
        ('hf://org/name', 'hf:org/name'),
        ('https://huggingface.co/org/name', 'hf:org/name'),
        ('https://huggingface.co/org/name/tree/main', 'hf:org/name'),
        ('openai/clip-vit-base-patch16', 'hf:openai/clip-vit-base-patch16'),
    ],
)
def test_misspelt_names_are_answered_with_the_right_one(hub, text, meant):
    for find in (resolve_clip, find_proxy):
        with pytest.raises(InputError, match=rf"\(did you mean '{meant}'\?\)$"):
            find(text)
    assert hub.requests == []


@pytest.mark.parametrize('text', ['ViT-B/8', 'RN50', 'weights/clip.pt', './clip', 'a/b/c', 'x'])
def test_other_texts_are_not_taken_for_repositories(hub, text):
    with pytest.raises(InputError) as caught:
        resolve_clip(text)
    assert 'did you mean' not in str(caught.value)


def test_a_file_is_fetched_once(hub):
    hub.put('org/name', config__json={'a': 1})
    path = fetch(HubName('org/name'), 'config.json')
    assert path.read_text() == '{"a": 1}' and path.parent.name == COMMIT
    assert fetch(HubName('org/name'), 'config.json') == path
    assert hub.downloads() == ['config.json']
    assert fetch(HubName('org/name'), 'other.json') is None
    found = fetch_first(HubName('org/name'), ('other.json', 'config.json'))
    assert found == path


def test_revisions(hub):
    hub.put('org/name', 'main', config__json={'a': 1})
    hub.put('org/name', 'v1', config__json={'a': 2})
    for revision, commit in (('main', COMMIT), ('v1', OLD_COMMIT), (OLD_COMMIT, OLD_COMMIT)):
        assert pin(HubName('org/name', revision), ['config.json']).revision == commit
    assert fetch(HubName('org/name', 'v1'), 'config.json').read_text() == '{"a": 2}'
    with pytest.raises(InputError, match="^org/name on the Hub has no revision 'v2'"):
        fetch(HubName('org/name', 'v2'), 'config.json')


def test_a_commit_s_files_need_no_network(hub):
    hub.put('org/name', config__json={})
    name = pin(HubName('org/name'), ['absent.json', 'config.json'])
    before = len(hub.requests)
    assert fetch_first(name, ['absent.json', 'config.json']).name == 'config.json'
    assert len(hub.requests) == before


@pytest.mark.parametrize('name', ['org/absent', 'openai/clip-vit-base-patch-16'])
def test_no_such_repository(hub, name):
    with pytest.raises(InputError, match=f'^hf:{name}: {hub.url} has no such repository'):
        resolve_clip(f'hf:{name}')


def test_gated_repository(hub, monkeypatch):
    hub.put('org/gated', config__json={})
    hub.gated.add('org/gated')
    message = f'^hf:org/gated is gated: request access at {hub.url}/org/gated.*HF_TOKEN$'
    with pytest.raises(InputError, match=message):
        fetch(HubName('org/gated'), 'config.json')
    monkeypatch.setenv('HF_TOKEN', 'hf_secret')  # the client's own means
    assert fetch(HubName('org/gated'), 'config.json').is_file()


def test_offline_mode(hub, monkeypatch):
    hub.put('org/name', config__json={'a': 1})
    path = fetch(HubName('org/name'), 'config.json')
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    before = list(hub.requests)
    assert fetch(HubName('org/name'), 'config.json') == path
    with pytest.raises(NotCached, match='^config.json of hf:org/other is not in the cache .*hub, '):
        fetch(HubName('org/other'), 'config.json')
    with pytest.raises(InputError, match='HF_HUB_OFFLINE forbids downloading it'):
        resolve_clip('hf:org/other')
    with pytest.raises(NotCached, match=f'it is gated: request access at {hub.url}/facebook/sam3'):
        fetch(HubName('facebook/sam3'), 'config.json')
    assert hub.requests == before


@pytest.fixture
def impatient(monkeypatch):
    """Let the client not wait before it tries again."""
    monkeypatch.setattr('time.sleep', lambda seconds: None)


def test_no_network(hub, impatient):
    hub.put('org/name', config__json={'a': 1})
    path = fetch(HubName('org/name'), 'config.json')
    hub.close()
    assert fetch(HubName('org/name'), 'config.json') == path
    with pytest.raises(InputError) as caught:
        fetch(HubName('org/name'), 'other.json')
    message = str(caught.value)
    assert message.startswith('other.json of hf:org/name is not in the cache')
    assert f'the request to {hub.url} failed' in message and 'HF_ENDPOINT' in message
    assert '\n' not in message


@pytest.fixture
def no_proxies(monkeypatch):
    monkeypatch.setattr('sclip_mmseg.utils.hub.getproxies', dict)


@pytest.mark.parametrize('failures', [1, 2])
def test_a_host_without_an_address(hub, no_proxies, monkeypatch, failures):
    """Only a single failure is not final; the client would try again for 23 seconds."""
    tried, find, waited = [], socket.getaddrinfo, []

    def fail(*arguments, **kwargs):
        tried.append(arguments[0])
        if len(tried) <= failures:
            raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')
        return find(*arguments, **kwargs)

    hub.put('org/name', config__json={'a': 1})
    path = fetch(HubName('org/name'), 'config.json')
    monkeypatch.setattr(socket, 'getaddrinfo', fail)
    monkeypatch.setattr(time, 'sleep', waited.append)
    if failures == 1:
        assert fetch(HubName('org/name'), 'other.json') is None
    else:
        with pytest.raises(NotCached, match='the request to .* failed .*Name or service not known'):
            fetch(HubName('org/name'), 'other.json')
        assert len(tried) == 2
        assert fetch(HubName('org/name'), 'config.json') == path
    assert sum(waited) <= 1


def test_a_proxy_finds_the_host(hub, monkeypatch):
    hub.put('org/name', config__json={'a': 1})
    find = socket.getaddrinfo

    def fail(host, port, *arguments, **kwargs):
        if port is None:
            raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')
        return find(host, port, *arguments, **kwargs)

    monkeypatch.setattr(socket, 'getaddrinfo', fail)
    monkeypatch.setattr('sclip_mmseg.utils.hub.getproxies', lambda: {'https': 'proxy:3128'})
    assert fetch(HubName('org/name'), 'config.json').is_file()


def test_a_broken_transfer(hub, impatient):
    hub.put('org/name', model__safetensors=bytes(1000))
    hub.cutting = True
    message = f'^cannot download model.safetensors of hf:org/name from {hub.url}'
    with pytest.raises(InputError, match=message):
        fetch(HubName('org/name'), 'model.safetensors')
    hub.cutting = False
    assert fetch(HubName('org/name'), 'model.safetensors').read_bytes() == bytes(1000)


def test_a_cache_that_cannot_be_written_to(hub, monkeypatch, tmp_path):
    hub.put('org/name', config__json={})
    (tmp_path / 'file').touch()
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'file/hub'))
    with pytest.raises(InputError, match=r'^cannot download config.json of hf:org/name .*file/hub'):
        fetch(HubName('org/name'), 'config.json')


def test_a_hub_that_fails(hub, impatient):
    hub.put('org/name', config__json={})
    hub.failing = True
    with pytest.raises(InputError, match=f'the request to {hub.url} failed .*500'):
        fetch(HubName('org/name'), 'config.json')


def test_another_process_that_blocks_a_repository(hub, monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr(files, '_LOCK_TIMEOUT', 0.3)
    monkeypatch.setattr(files, '_LOCK_REPORTED', 0.05)
    monkeypatch.setattr(files, 'print_log', lambda message, *_: said.append(message))
    hub.put('org/name', config__json={'a': 1}, other__json={'b': 1})
    known = fetch(HubName('org/name'), 'config.json')
    locks = tmp_path / 'hub/.locks/models--org--name'
    with FileLock(locks / 'x.lock'):
        with pytest.raises(InputError, match=f'{locks}/x.lock has been held by another process'):
            fetch(HubName('org/name'), 'other.json')
        assert len(said) == 1
        assert fetch(HubName('org/name'), 'config.json') == known  # which needs no download
    assert fetch(HubName('org/name'), 'other.json').is_file()
