import time
import warnings

import numpy as np
import pytest
import torch
from helpers import load_config
from PIL import Image

from sclip_mmseg import InputError, apis
from sclip_mmseg.apis.own_config import own_config
from sclip_mmseg.datasets import bright_palette, load_queries
from sclip_mmseg.models.text_embeddings import save_embeddings

SMALL = {
    'model.test_cfg.crop_size': 112,
    'model.test_cfg.stride': 56,
    'test_pipeline.1.scale': (2048, 168),
}


@pytest.fixture
def image_path(voc_root):
    return voc_root / 'VOCdevkit/VOC2012/JPEGImages/image_0.jpg'


@pytest.mark.parametrize('method', ['sclip', 'clip', 'naclip', 'sclip-pamr10', 'pearl'])
def test_own_classes(clip_path, image_path, method):
    classes = [['sky', 'clouds'], 'grass', 'cat, kitten']
    model = apis.build_segmentor(classes, False, method, clip_path, 'cpu', SMALL)
    result = apis.segment(model, image_path)
    assert result.class_names == ('sky', 'grass', 'cat')
    assert result.palette == bright_palette(3)
    assert result.labels.shape == (90, 120)
    assert result.scores.shape == (3, 90, 120)
    assert (result.labels == result.scores.argmax(0)).all()
    assert sum(result.areas.values()) == pytest.approx(1)
    from_array = apis.segment(model, apis.read_image(image_path), channels='bgr')
    assert (from_array.labels == result.labels).all()


def test_own_classes_by_methods_that_know_one_tower(clip_path, image_path):
    """The error says what to set for another tower, and the method runs with it."""

    def segment(method, **options):
        names = {f'model.image_encoder.method.{key}': value for key, value in options.items()}
        arguments = (['sky', 'grass'], False, method, clip_path, 'cpu')
        return apis.segment(apis.build_segmentor(*arguments, {**SMALL, **names}), image_path)

    with pytest.raises(InputError, match='image_encoder.method.channels'):
        segment('rfclip')
    with pytest.raises(InputError, match='set similarity_block, edge_block and level_blocks'):
        segment('sfp')
    assert segment('rfclip-pamr', channels=[1, 2]).scores.shape == (2, 90, 120)
    blocks = dict(similarity_block=2, edge_block=1, level_blocks=(1, 2))
    assert segment('sfp', **blocks).scores.shape == (2, 90, 120)


def test_pamr_of_own_images_looks_at_the_next_pixels_too(clip_path):
    def dilations(**options):
        arguments = (['cat', 'dog'], False, 'sclip-pamr10', clip_path, 'cpu')
        return apis.build_segmentor(*arguments, {**SMALL, **options}).refine.dilations

    assert load_config('sclip-pamr10_vit-b16_voc20').model.refine.dilations == (8, 16)
    assert dilations() == (1, 2, 4, 8, 12, 24)
    assert dilations(**{'model.refine.dilations': (8, 16)}) == (8, 16)


@pytest.mark.parametrize('background, queries', [(True, 26), (['wall', 'floor'], 2)])
def test_background(clip_path, image_path, background, queries):
    model = apis.build_segmentor('cat;dog'.split(';'), background, 'sclip', clip_path, 'cpu', SMALL)
    assert model.dataset_meta['classes'] == ('background', 'cat', 'dog')
    assert model.text_head.query_set.class_ids == (0,) * queries + (1, 2)
    assert model.dataset_meta['palette'] == [[0, 0, 0], *bright_palette(2)]
    assert model.rule.value == 0.1
    result = apis.segment(model, image_path)
    assert (result.labels[result.scores.max(0) < 0.1] == 0).all()


def test_thresholds_need_a_background(clip_path):
    options = {**SMALL, 'model.test_cfg.prob_thd': 0.3}
    with pytest.raises(InputError, match="class 0, 'cat': add a background"):
        apis.build_segmentor(['cat', 'dog'], clip=clip_path, device='cpu', cfg_options=options)
    apis.build_segmentor(['background', 'dog'], clip=clip_path, device='cpu', cfg_options=options)


def test_scores_can_be_left_out(clip_path, image_path):
    options = {**SMALL, 'model.test_cfg.seg_logits': False}
    model = apis.build_segmentor(['cat', 'dog'], clip=clip_path, device='cpu', cfg_options=options)
    assert apis.segment(model, image_path).scores is None


def test_a_shipped_list(clip_path):
    meta = apis.build_segmentor('cityscapes', clip=clip_path, device='cpu').dataset_meta
    assert meta['classes'][:2] == ('road', 'sidewalk')
    assert meta['palette'] == bright_palette(19)
    options = {'visualizer.palette': 'dataset'}
    own = apis.build_segmentor('cityscapes', clip=clip_path, device='cpu', cfg_options=options)
    assert own.dataset_meta['palette'][:2] == [[128, 64, 128], [244, 35, 232]]


def test_background_words_leave_classes_alone(clip_path):
    model = apis.build_segmentor(['Sky, clouds', 'cat'], True, 'sclip', clip_path, 'cpu', SMALL)
    words = model.text_head.query_set.by_class[0]
    assert len(words) == 25
    assert 'sky' not in words and 'wall' in words


def test_a_background_word_that_is_a_class(clip_path):
    arguments = dict(method='sclip', clip=clip_path, device='cpu', cfg_options=SMALL)
    with pytest.warns(UserWarning, match='stands for classes') as said:
        apis.build_segmentor(['sea', 'cow'], 'wall， Sea', **arguments)
    assert [str(each.message).partition(';')[0] for each in said] == [
        "queries: query 'sea', which is 'Sea' to CLIP's tokenizer, stands for classes 0 ('wall') "
        "and 1 ('sea')"
    ]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        model = apis.build_segmentor(['SKY', 'cow'], True, **arguments)
    assert 'sky' not in model.text_head.query_set.by_class[0]
    with pytest.raises(InputError, match='has an empty query'):
        apis.build_segmentor(['sea', 'cow'], '', **arguments)


def test_many_classes_are_compared_soon(clip_path):
    classes = [f'thing {index}' for index in range(20_000)]
    start = time.process_time()
    with pytest.raises(InputError, match="'absent.pt' is neither"):
        apis.build_segmentor(classes, clip='absent.pt')
    assert time.process_time() - start < 15


@pytest.mark.filterwarnings('ignore:.*stands for classes')
@pytest.mark.parametrize('classes, background', [(['cat', 'cat'], False), (['background'], True)])
def test_one_name_for_two_classes(clip_path, classes, background):
    with pytest.raises(InputError, match=f"two classes are called '{classes[0]}'"):
        apis.build_segmentor(classes, background, clip=clip_path)


@pytest.mark.parametrize('classes', [['sheep, bottle'], [['sheep', 'bottle']], ['sheep']])
def test_a_single_class(clip_path, image_path, classes):
    with pytest.raises(InputError, match="every pixel would be 'sheep'.*semicolons.*commas"):
        apis.build_segmentor(classes, clip='absent.pt')
    model = apis.build_segmentor(classes, ['sea'], clip=clip_path, device='cpu', cfg_options=SMALL)
    assert list(apis.segment(model, image_path).areas) == ['background', 'sheep']


@pytest.fixture
def embeddings(tmp_path):
    """Writes a file of embeddings of classes, and gives the options that use it."""

    def write(classes):
        query_set = load_queries(classes)
        path = tmp_path / 'text.npz'
        save_embeddings(path, query_set, torch.eye(len(query_set.queries), 32))
        return {**SMALL, 'model.text_head.embeddings': str(path)}

    return write


@pytest.mark.parametrize(
    'classes, background, message',
    [
        (['dog', 'cat, kitten'], False, "'cat, kitten' in .*text.npz', but 'dog' in classes"),
        (['cat', 'dog'], False, "class 0 is 'cat, kitten' .*, but 'cat' in classes"),
        (['kitten, cat', 'dog', 'cow'], False, "class 2 is none in .*, but 'cow' in classes"),
        (['cat, kitten', 'dog'], ['sea'], "class 0 is 'cat, kitten' in .*, but 'sea' in classes"),
    ],
)
def test_embeddings_of_other_classes(embeddings, classes, background, message):
    options = embeddings(['cat, kitten', 'dog'])
    with pytest.raises(InputError, match=message):
        apis.build_segmentor(classes, background, clip='absent.pt', cfg_options=options)
    options = {'model.text_head.queries': ['cat, kitten', 'dog']}
    with pytest.raises(InputError, match='in text_head.queries, but'):
        apis.build_segmentor(classes, background, clip='absent.pt', cfg_options=options)


def test_embeddings_of_the_classes(clip_path, embeddings):
    options = embeddings(['sea, lake', 'cat, kitten', 'dog'])
    model = apis.build_segmentor(
        ['kitten, cat', 'dog'], ['sea', 'lake'], clip=clip_path, device='cpu', cfg_options=options
    )
    assert model.dataset_meta['classes'] == ('background', 'kitten', 'dog')
    assert model.text_head.query_set.queries == ('sea', 'lake', 'cat', 'kitten', 'dog')


def test_classes_as_text(clip_path, image_path, tmp_path):
    text = '7: cat, kitten; 300: dog  # and puppies'
    (tmp_path / 'classes.txt').write_text(text)
    for classes in (text, tmp_path / 'classes.txt', apis.parse_classes(text)):
        model = apis.build_segmentor(classes, clip=clip_path, device='cpu', cfg_options=SMALL)
        assert model.text_head.query_set.by_class == [['cat', 'kitten'], ['dog']]
        assert model.dataset_meta['classes'] == ('cat', 'dog')
        assert apis.segment(model, image_path).label_ids == (7, 300)


def test_the_id_of_the_background():
    own = own_config('1: cat; 2: dog', True, 'sclip')
    assert (own.names, own.label_ids) == (('background', 'cat', 'dog'), (0, 1, 2))
    with pytest.raises(InputError, match="'dog' has id 0, which is the background's"):
        own_config('1: cat; 0: dog', True, 'sclip')


def test_label_maps_have_the_stated_ids(clip_path, image_path, tmp_path):
    options = dict(clip=clip_path, device='cpu', cfg_options=SMALL, method='sclip')
    [plain] = apis.segment_files(image_path, 'cat; dog', out=tmp_path / 'plain', **options)
    [stated] = apis.segment_files(image_path, '7: cat; 300: dog', out=tmp_path / 'ids', **options)
    index, ids = (np.array(Image.open(result.labels)) for result in (plain, stated))
    assert (index.dtype, ids.dtype) == (np.uint8, np.uint16)
    assert (np.array([7, 300])[index] == ids).all()


def test_parse_classes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'secret.txt').write_text('a; b')
    assert apis.parse_classes('voc20') == 'voc20'
    # What somebody typed names no file.
    assert apis.parse_classes('secret.txt').synonyms == (('secret.txt',),)
    with pytest.raises(InputError, match='there is no class'):
        apis.parse_classes(' \n')


def test_methods():
    assert {'clip', 'maskclip', 'sclip', 'clearclip', 'naclip'} <= set(apis.list_methods())
    with pytest.raises(InputError, match="method='sclap' is not a known .*sclip"):
        apis.build_segmentor(['cat'], method='sclap')


def test_bad_images(tmp_path):
    with pytest.raises(InputError, match='absent.jpg does not exist'):
        apis.read_image(tmp_path / 'absent.jpg')
    (tmp_path / 'text.jpg').write_text('no image')
    with pytest.raises(InputError, match='text.jpg cannot be read'):
        apis.read_image(tmp_path / 'text.jpg')
