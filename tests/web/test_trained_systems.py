"""Trained systems on the page, with small seeded weights: checkpoints, options, progress."""

import time

import numpy as np
import pytest
import torch
from helpers import ROOT, call_tool, chromium, seeded_clip, seeded_sam3
from PIL import Image
from safetensors.torch import save_file
from served import served
from trained_weights import write_talk2dino

from sclip_mmseg import InputError
from sclip_mmseg.models.trained import SAM3Encoder
from sclip_mmseg.web import Question, Session
from sclip_mmseg.web.page import respond
from sclip_mmseg.zoo import is_toy

CLASSES = 'heron; otter; lichen'  # which no other test encodes
FLAGS = '--headless --no-sandbox --disable-gpu --window-size=1280,1000 --disable-dev-shm-usage'
pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning')  # of pandas in Gradio


@pytest.fixture(scope='module')
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp('image') / 'photo.png'
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return str(path)


@pytest.fixture(scope='module')
def sam3(tmp_path_factory):
    pytest.importorskip('transformers')
    folder = tmp_path_factory.mktemp('sam3')
    save_file(seeded_sam3(), folder / 'model.safetensors')
    return str(folder)


@pytest.fixture
def talk2dino(tmp_path):
    torch.save(seeded_clip(), tmp_path / 'clip.pt')
    return str(tmp_path / 'clip.pt'), write_talk2dino(tmp_path)


def test_sam3_reports_texts_and_each_batch_of_prompts(sam3, image, tmp_path, monkeypatch):
    monkeypatch.setattr(SAM3Encoder, 'prompt_batch', lambda self: 2)
    session = Session(sam3, 'cpu', 'sam3')
    assert session.method == 'sam3' and not session.is_toy and session.clip is None
    reports = []
    for background in (False, True):
        reports.clear()
        question = Question(image, CLASSES, 'sam3', background=background)
        report = lambda each: reports.append(each.share)  # noqa: E731
        answer, message = respond(session, question, str(tmp_path), report=report)
        assert message == '' and answer.methods == ('sam3',) and answer.areas
        assert reports == [0, 1, 0, 0.5 if background else 2 / 3, 1]  # the texts, the prompts


def test_options_are_those_of_the_family(talk2dino, image, tmp_path):
    clip, options = talk2dino
    session = Session(clip, 'cpu', 'talk2dino', options)
    for method in ('talk2dino', 'talk2dino-pamr'):
        answer, message = respond(session, Question(image, CLASSES, method), str(tmp_path))
        assert message == '' and answer.methods == (method,)
    assert session.segmentor(Question(None, CLASSES, 'talk2dino')).text_head.clip == clip


def test_options_of_a_clip(clip_path):
    session = Session(clip_path, 'cpu', 'naclip', {'model.image_encoder.method.std': 3.0})
    assert session.method == 'naclip'
    assert session.segmentor(Question(None, CLASSES, 'naclip')).image_encoder.method.std == 3
    assert is_toy(Session(None, 'cpu', 'sclip').clip)


def test_bad_arguments(sam3):
    with pytest.raises(InputError, match="method='sam4' is not a known method .did you mean 'sam3"):
        Session(sam3, 'cpu', 'sam4')
    with pytest.raises(InputError, match="checkpoint='absent.pt' is neither a file of Meta's"):
        Session('absent.pt', 'cpu', 'sam3')
    with pytest.raises(InputError, match="SAM3Encoder has no 'nonsense'"):
        Session(sam3, 'cpu', 'sam3', {'model.image_encoder.nonsense': 1})


@pytest.mark.slow
def test_page_shows_progress(sam3, image, tmp_path, monkeypatch):
    monkeypatch.setattr(SAM3Encoder, 'prompt_batch', lambda self: 1)
    session, seen = Session(sam3, 'cpu', 'sam3'), ''
    browser = chromium(tmp_path / 'profile', FLAGS.split(), {})
    with served(session, tmp_path) as (address, _), browser as chrome:
        chrome.get(address)
        end = time.monotonic() + 120
        while '2 of ' not in seen and time.monotonic() < end:
            shown = chrome.find_elements('css selector', '#status')
            seen = ' '.join(element.text for element in shown if element.is_displayed())
            time.sleep(0.02)
        assert '2 of ' in seen and 'prompts' in seen
        while len(chrome.find_elements('css selector', '#slider img')) < 2:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_other_methods_than_those_of_the_page():
    config = str(ROOT / 'configs/sclip/sclip_vit-b16_voc20.py')
    with pytest.raises(InputError, match=r"voc20.py' \(--method\) is not a method of the page: "):
        Session(method=config)


def test_the_command_takes_them():
    output = call_tool(ROOT / 'tools/web_demo.py', '--help').stdout
    assert '--method' in output and '--cfg-options' in output
