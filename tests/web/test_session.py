"""What the page computes, without Gradio."""

import shutil
import threading
import urllib.request
from dataclasses import replace
from threading import Thread
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from helpers import ROOT
from huggingface_hub import constants
from PIL import Image

from sclip_mmseg import apis
from sclip_mmseg.apis.segmentation import Segmentation
from sclip_mmseg.models import image_encoder
from sclip_mmseg.models.progress import report_progress
from sclip_mmseg.utils.errors import InputError
from sclip_mmseg.utils.progress import Progress
from sclip_mmseg.web import Question, Session, examples, limits, session, style
from sclip_mmseg.web.page import INTERNAL, respond
from sclip_mmseg.zoo import default_method, is_toy

IMAGE = ROOT / 'data/toy/VOCdevkit/VOC2012/JPEGImages/toy_000003.jpg'
QUESTION = Question(str(IMAGE), 'sheep; bottle', 'sclip')


@pytest.fixture(scope='module')
def toy():
    return Session(device='cpu')


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError('no network')

    monkeypatch.setattr(urllib.request.OpenerDirector, 'open', refuse)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)


# What needs files that have to be fetched.
DINO = ('corrclip', 'ovstitcher', 'ovstitcher-metaclip')
LACKING = dict.fromkeys(DINO, 'dino_vitbase8_pretrain.pth')
LACKING.update({name: 'facebook/sam' for name in apis.list_methods() if name.startswith('trident')})
LACKING.update({name: 'save it as' for name in apis.list_methods() if name.startswith('proxy')})
LACKING.update({name: 'save it as' for name in apis.list_methods() if apis.is_trained(name)})
LACKING['segearth'] = 'save it as'
LACKING['sam3'] = 'is not in the cache'
OF_THE_HUB = 'proxyclip-dinov3-b16', 'proxyclip-radiov3-b16', 'proxyclip-pe-l14'
LACKING.update(
    dict.fromkeys((*OF_THE_HUB, 'corrclip-dinov3-b16', 'corrclip2'), 'is not in the cache')
)
# What is made for CLIP's own towers.
LACKING['sfp'] = 'needs block 10'
LACKING.update(dict.fromkeys(('rfclip', 'rfclip-pamr'), 'knows the channels'))


@pytest.mark.parametrize('method', apis.list_methods())
def test_all_methods_run_on_the_toy_clip_or_say_what_lacks(toy, offline, tmp_path, method):
    question = replace(QUESTION, method=method, background=True, words='sea, water')
    answer, message = respond(toy, question, str(tmp_path))
    if method in LACKING:
        assert answer is None and LACKING[method] in message and '\n' not in message
    else:
        assert message == '' and {area.name for area in answer.areas} <= {
            *('background', 'sheep', 'bottle')
        }


def test_other_questions_read_no_tower(toy, monkeypatch):
    towers, load = [], image_encoder.load_image_tower
    monkeypatch.setattr(image_encoder, 'load_image_tower', lambda *a: towers.append(a) or load(*a))
    for change in (
        dict(classes='sheep; bottle; cow'),
        dict(background=True, words='sea', threshold=0.5),
        dict(method='naclip', regions='felzenszwalb'),
    ):
        assert toy.segmentor(replace(QUESTION, **change))
    assert towers == []


def test_files(toy, tmp_path):
    answer = toy.answer(QUESTION, tmp_path)
    model = apis.build_segmentor(['sheep', 'bottle'], method='sclip', clip=toy.clip, device='cpu')
    result, image = apis.segment(model, IMAGE), apis.read_image(IMAGE)[..., ::-1]
    assert answer.labels.name == 'toy_000003_labels.png'
    assert (np.array(Image.open(answer.labels)) == result.labels).all()
    assert answer.overlay.name == 'toy_000003_overlay.jpg'
    sizes = [Image.open(path).size for path in (answer.left, answer.right, answer.overlay)]
    assert sizes[0] == sizes[1] == (500, 375) and sizes[2][0] > 500
    assert _difference(answer.left, image) < 3  # of JPEG
    assert _difference(answer.right, image) > 10

    both = toy.answer(replace(QUESTION, other='naclip'), tmp_path)
    assert both.methods == ('sclip', 'naclip') and len(both.areas[0].shares) == 2
    assert _difference(both.left, image) > 10


def _difference(path, image):
    return np.abs(np.array(Image.open(path)).astype(float) - image).mean()


def test_background_threshold_and_words(toy, tmp_path):
    def shares(**changes):
        answer = toy.answer(replace(QUESTION, **changes), tmp_path)
        return {area.name: area.shares[0] for area in answer.areas}

    assert 'background' not in shares(words='wall', threshold=1.0)
    assert shares(background=True, words='wall', threshold=1.0) == {'background': 1}
    assert shares(background=True, words='wall', threshold=0.0).get('background', 0) < 1
    words = [shares(background=True, words=w, threshold=0.5) for w in ('wall', 'sea, water')]
    assert words[0] != words[1]


@pytest.mark.parametrize(
    'name, classes, message',
    [
        (None, 'cat', 'there is no image: upload one'),
        ('toy_000003.jpg', ' \n', 'there is no class: write some'),
        ('toy_000003.jpg', 'cat;;dog', 'classes: class 2 has an empty query'),
        ('toy_000003.jpg', 'cat, dog', "every pixel would be 'cat', the only class"),
        ('toy_000003.jpg', 'cat; dog ' + 'very ' * 99, "the prompt '"),
        ('broken.jpg', 'cat; dog', 'broken.jpg cannot be read as an image'),
        ('empty.png', 'cat; dog', 'empty.png cannot be read as an image'),
        ('dot.png', 'cat; dog', ''),
        ('huge.png', 'cat; dog', 'huge.png has 64 megapixels, and the page allows 50'),
        ('bomb.png', 'cat; dog', 'bomb.png has too many pixels, and the page allows 50'),
    ],
)
def test_errors_are_reported(toy, tmp_path, name, classes, message):
    (tmp_path / 'broken.jpg').write_text('no picture')
    (tmp_path / 'empty.png').touch()
    shutil.copy(IMAGE, tmp_path)
    Image.new('RGB', (1, 1)).save(tmp_path / 'dot.png')
    for size, file in ((8000, 'huge.png'), (20000, 'bomb.png')):
        if file == name:
            Image.new('1', (size, size)).save(tmp_path / file)
    path = name and str(tmp_path / name)
    question = Question(path, classes, 'sclip')
    answer, said = respond(toy, question, str(tmp_path))
    assert said.startswith(message) and '\n' not in said and str(tmp_path) not in said
    assert (answer is None) == bool(said)


@pytest.mark.parametrize('suffix', ['hdr', 'pam', 'pfm', 'pic'])
def test_images_whose_size_is_known_too_late(toy, tmp_path, suffix):
    path, pixels = tmp_path / f'x.{suffix}', np.zeros((20, 30, 3), np.uint8)
    cv2.imwrite(str(path), pixels if suffix == 'pam' else pixels.astype(np.float32))
    assert cv2.imread(str(path)) is not None  # it would be read
    answer, said = respond(toy, replace(QUESTION, image=str(path)), str(tmp_path))
    assert answer is None and said.startswith(f'x.{suffix} is of a format whose size is not known')


@pytest.mark.parametrize('key', ['classes', 'words'])
def test_long_lists(toy, tmp_path, monkeypatch, key):
    monkeypatch.setattr(toy, 'segmentor', None)
    question = replace(QUESTION, **{key: 'cat; ' * 2000})
    said = respond(toy, question, str(tmp_path))[1]
    assert said.startswith('a list of classes has 10000 characters, and the page allows 4000')


@pytest.mark.parametrize('name', ['left', 'right', '.', ' ', 'left_overlay'])
def test_any_name_is_kept_apart(toy, tmp_path, name):
    shutil.copy(IMAGE, tmp_path / f'{name}.jpg')
    folder = tmp_path / 'folder'
    folder.mkdir()
    answer = toy.answer(replace(QUESTION, image=str(tmp_path / f'{name}.jpg')), folder)
    files = {answer.left, answer.right, answer.overlay, answer.labels}
    assert len(files) == 4 and all(file.is_file() and folder in file.parents for file in files)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f'{name}.jpg', 'folder'])
    assert Image.open(answer.left).size == (500, 375) < Image.open(answer.overlay).size


def test_a_question_without_progress_takes_a_limited_time(toy, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(limits, 'SECONDS', 0)
        for question in (QUESTION, replace(QUESTION, classes='sea; not encoded before')):
            answer, said = respond(toy, question, str(tmp_path))
            assert answer is None and said.startswith('this made no progress for 0 seconds')
    assert respond(toy, QUESTION, str(tmp_path))[1] == ''


@pytest.mark.parametrize(
    'report',
    [lambda done: report_progress(done, 9), lambda done: Progress(9).is_due(done)],
    ids=['windows', 'steps'],
)
def test_progress_starts_the_time_anew(monkeypatch, report):
    now, network = [0], torch.nn.Identity()
    monkeypatch.setattr(limits, 'time', SimpleNamespace(monotonic=lambda: now[0]))
    with limits.bounded(lambda: True):
        for done in (1, 2, 3):
            network(0)
            now[0] += 200
            network(0)
            report(done)
        network(0)
        now[0] += 301
        with pytest.raises(InputError, match='no progress for 300 seconds'):
            network(0)


def test_nothing_is_computed_for_a_user_who_left(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, '_PATIENCE', 0)
    there = iter([True, True])  # until the first module of a network has looked
    answer, said = respond(toy, QUESTION, str(tmp_path), lambda: next(there, False))
    assert (answer, said) == (None, 'nobody waits for this any more')
    monkeypatch.setattr(toy, 'answer', None)
    assert respond(toy, QUESTION, str(tmp_path), lambda: False) == (None, 'nobody waits for this')


def test_nothing_is_computed_once_the_server_ends(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, 'ending', threading.Event())
    limits.ending.set()
    assert respond(toy, QUESTION, str(tmp_path)) == (None, 'the server is shutting down')


def test_images_whose_regions_are_made_are_smaller(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(session, 'LARGEST_WITH_REGIONS', 100_000)
    monkeypatch.setattr(session, 'segment_array', None)
    question = replace(QUESTION, regions='felzenszwalb')
    said = respond(toy, question, str(tmp_path))[1]
    assert 'has 0 megapixels, and the page allows 0 megapixels with regions' in said


def test_the_size_is_selected_and_strong_reduction_is_reported(toy, tmp_path, monkeypatch):
    native = toy.answer(replace(QUESTION, size='native'), tmp_path)
    other = tmp_path / 'other'
    other.mkdir()
    assert toy.answer(QUESTION, other).labels.read_bytes() != native.labels.read_bytes()
    assert not native.notice
    monkeypatch.setattr('sclip_mmseg.apis.shrinking._MOST', 1)
    assert 'at 336 of its 375 rows' in toy.answer(QUESTION, other).notice
    with pytest.raises(InputError, match='--size'):
        toy.answer(replace(QUESTION, size='huge'), tmp_path)
    monkeypatch.setattr(session, 'LARGEST_NATIVE', 1000)
    with pytest.raises(InputError, match='at the size native'):
        toy.answer(replace(QUESTION, size='native'), tmp_path)


def test_a_bug_is_no_end(toy, tmp_path, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise KeyError('a bug')

    with monkeypatch.context() as patch:
        patch.setattr(session, 'segment_array', fail)
        assert respond(toy, QUESTION, str(tmp_path)) == (None, INTERNAL)
    assert "KeyError: 'a bug'" in capsys.readouterr().err
    assert respond(toy, QUESTION, str(tmp_path))[1] == ''


def test_two_users_at_the_same_time(toy, tmp_path):
    questions = [QUESTION, replace(QUESTION, classes='sea; cow; sheep; television', method='clip')]
    expected = [toy.answer(question, tmp_path).areas for question in questions]
    wrong = []

    def ask(user):
        (tmp_path / str(user)).mkdir()
        for _ in range(2):
            areas = toy.answer(questions[user], tmp_path / str(user)).areas
            wrong.extend([areas] if areas != expected[user] else [])

    users = [Thread(target=ask, args=(user,)) for user in range(2)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert wrong == []


def test_classes_that_are_not_there_are_not_listed():
    labels = np.zeros((2, 5), dtype=int)
    other = labels.copy()
    other[0, 0] = 2
    names, palette = ('<b>cat', 'dog', 'cow'), [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    found = [Segmentation(each, None, names, palette) for each in (labels, other)]
    areas = session.list_areas(found)
    assert [(area.name, area.shares) for area in areas] == [('<b>cat', (1, 0.9)), ('cow', (0, 0.1))]
    page = style.legend(areas, ['sclip', 'clip'])
    assert '&lt;b&gt;cat' in page and '<b>cat' not in page and 'dog' not in page
    assert '90.0%' in page and 'rgb(7, 8, 9)' in page


def test_examples(toy, tmp_path, monkeypatch):
    assert len(toy.examples) > 2 and all(example.image.is_file() for example in toy.examples)
    assert toy.classes == toy.examples[0].classes
    monkeypatch.setattr(examples, 'shipped_root', lambda: tmp_path)
    (tmp_path / 'demo').mkdir()
    for name in ('cat', 'unknown'):
        shutil.copy(IMAGE, tmp_path / f'demo/{name}.jpg')
    (tmp_path / 'demo/cat.txt').write_text('cat, kitten\nfloor\n', encoding='utf-8')
    expected = [examples.Example(tmp_path / 'demo/cat.jpg', 'cat, kitten\nfloor')]
    assert examples.photographs() == expected
    assert examples.drawings() == []


def test_the_toy_clip_is_known_by_its_name_and_by_its_content(toy, tmp_path, clip_path):
    assert toy.is_toy and toy.method == 'sclip'
    (tmp_path / 'other.safetensors').symlink_to(toy.clip)
    for clip in (toy.clip, str(tmp_path / 'other.safetensors')):
        named = Session(clip, 'cpu')
        assert named.is_toy and named.method == 'sclip'
    for clip in (clip_path, 'ViT-B/16', 'hf:a/b', 'x' * 5000, 'a\0', None):
        assert not is_toy(clip)
    assert default_method(clip_path) == 'scclip'


def test_pixels_without_data_on_a_map_have_no_class(toy, tmp_path):
    rasterio = pytest.importorskip('rasterio')
    bands = np.asarray(Image.open(IMAGE)).transpose(2, 0, 1).copy()
    bands[:, :60] = 0
    path, (count, height, width) = tmp_path / 'map.tif', bands.shape
    kind = dict(dtype='uint8', photometric='rgb', crs='EPSG:25832', nodata=0)
    place = rasterio.transform.from_origin(346000, 5648000, 1, 1)
    with rasterio.open(path, 'w', 'GTiff', width, height, count, transform=place, **kind) as file:
        file.write(bands)
    answer = toy.answer(replace(QUESTION, image=str(path)), tmp_path)
    labels = np.asarray(Image.open(answer.labels))
    assert (labels[:60] == 255).all() and (labels[60:] < 2).mean() > 0.9
