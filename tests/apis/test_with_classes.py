"""Other classes and methods on towers that are there already."""

from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sclip_mmseg import InputError, apis
from sclip_mmseg.models import image_encoder, text_embeddings
from sclip_mmseg.towers.normalisation import IMAGENET

SMALL = {'model.test_cfg.crop_size': 112, 'model.test_cfg.stride': 56}


@pytest.fixture
def image_path(voc_root):
    return voc_root / 'VOCdevkit/VOC2012/JPEGImages/image_0.jpg'


@pytest.fixture
def read(monkeypatch):
    """The image towers read from disk and the queries encoded, as they come."""
    towers, queries = [], []
    load, encode = image_encoder.load_image_tower, text_embeddings.encode_queries

    def load_tower(*args):
        towers.append(args[0])
        return load(*args)

    def encode_queries(tower, texts, *args):
        queries.append(list(texts))
        return encode(tower, texts, *args)

    monkeypatch.setattr(image_encoder, 'load_image_tower', load_tower)
    monkeypatch.setattr(text_embeddings, 'encode_queries', encode_queries)
    return towers, queries


def _build(classes, clip_path, background=False, method='sclip', **kwargs):
    return apis.build_segmentor(
        classes,
        background,
        method,
        clip_path,
        'cpu',
        {**SMALL, **kwargs.pop('options', {})},
        **kwargs,
    )


def test_other_classes_read_no_tower(clip_path, image_path, read, monkeypatch, tmp_path):
    monkeypatch.setenv('SCLIP_CACHE_DIR', str(tmp_path))
    towers, queries = read
    first = _build(['heron', 'otter, weasel'], clip_path)
    before = apis.segment(first, image_path)
    second = apis.with_classes(first, ['weasel', 'beaver', 'heron'], ['reed'])
    assert len(towers) == 1
    assert queries == [['heron', 'otter', 'weasel'], ['reed', 'beaver']]
    assert second.image_encoder is first.image_encoder

    fresh = _build(['weasel', 'beaver', 'heron'], clip_path, ['reed'])
    assert second.dataset_meta == fresh.dataset_meta and second.rule == fresh.rule
    expected, found = apis.segment(fresh, image_path), apis.segment(second, image_path)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    again = apis.segment(first, image_path)  # which has its own classes still
    assert again.class_names == ('heron', 'otter')
    assert (again.scores == before.scores).all()


def test_another_method_reads_no_tower(clip_path, image_path, read):
    first = _build(['cat', 'dog'], clip_path)
    second = _build(['cat', 'dog'], clip_path, method='naclip', share=first)
    assert len(read[0]) == 1 and second.image_encoder.tower is first.image_encoder.tower
    fresh = _build(['cat', 'dog'], clip_path, method='naclip')
    assert (apis.segment(second, image_path).scores == apis.segment(fresh, image_path).scores).all()


def test_a_shared_tower_is_adapted_once(clip_path, monkeypatch):
    """The normalisation is folded into the tower, but not a second time."""
    found = SimpleNamespace(name='own', spec=SimpleNamespace(normalisation=IMAGENET))
    monkeypatch.setattr(image_encoder, 'find_clip', lambda *_: found)
    first = _build(['cat', 'dog'], clip_path)
    before = {name: value.clone() for name, value in first.image_encoder.tower.state_dict().items()}
    second = _build(['cat', 'dog'], clip_path, method='naclip', share=first)
    assert second.image_encoder.tower is first.image_encoder.tower
    after = second.image_encoder.tower.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert second.image_encoder.normalisation == first.image_encoder.normalisation


@pytest.mark.parametrize('key, value', [('precision', 'bf16'), ('round_weights', False)])
def test_other_towers_are_not_shared(clip_path, read, key, value):
    first = _build(['cat', 'dog'], clip_path)
    options = {f'model.image_encoder.{key}': value}
    second = _build(['cat', 'dog'], clip_path, options=options, share=first)
    assert len(read[0]) == 2 and second.image_encoder.tower is not first.image_encoder.tower


def test_embeddings_of_other_prompts_are_not_shared(clip_path):
    first = _build(['cat', 'dog'], clip_path)
    options = {'model.text_head.templates': ['a drawing of a {}.']}
    second = _build(['cat', 'dog'], clip_path, options=options, share=first)
    fresh = _build(['cat', 'dog'], clip_path, options=options)
    assert torch.equal(second.text_head.embeddings, fresh.text_head.embeddings)
    assert not torch.equal(second.text_head.embeddings, first.text_head.embeddings)


def test_arguments_stay(clip_path):
    options = {'model.test_cfg.logit_scale': 65}
    first = _build(['cat', 'dog'], clip_path, options=options, regions='felzenszwalb')
    second = apis.with_classes(apis.with_classes(first, ['cow', 'dog']), ['cow'], True)
    assert second.rule.scoring.logit_scale == 65 and second.rule.value == 0.1
    assert second.regions is not None and second.postprocess is not None
    with pytest.raises(InputError, match="every pixel would be 'cow'"):
        apis.with_classes(second, ['cow'])


def test_two_users_at_the_same_time(clip_path, image_path):
    """The threads have different classes and share a tower."""
    first = _build(['cat', 'dog'], clip_path)
    lists = [['cat', 'dog'], ['sea', 'sky', 'cat']]
    expected = [apis.segment(_build(classes, clip_path), image_path).labels for classes in lists]
    wrong = []

    def use(classes, labels):
        for _ in range(2):
            result = apis.segment(apis.with_classes(first, classes), image_path)
            if result.class_names != tuple(classes) or (result.labels != labels).any():
                wrong.append(classes)

    threads = [Thread(target=use, args=pair) for pair in zip(lists, expected)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
