"""Own classes with the methods that need more than a CLIP."""

import numpy as np
import pytest
import torch
from helpers import seeded_clip
from PIL import Image
from trained_weights import write_trained

from sclip_mmseg import InputError, apis
from sclip_mmseg.datasets import bright_palette
from sclip_mmseg.regions import Felzenszwalb, majority_labels

SMALL = {'model.test_cfg.crop_size': 112, 'model.test_cfg.stride': 56}
SMALLER = {**SMALL, 'test_pipeline.1.scale': (2048, 168)}
CLASSES = ['sky, clouds', 'grass', 'cat']


@pytest.fixture
def image_path(voc_root):
    return voc_root / 'VOCdevkit/VOC2012/JPEGImages/image_0.jpg'


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Method → its checkpoint, and the options that small weights need."""
    found = write_trained(tmp_path_factory.mktemp('trained'))
    return {name: (path, {**SMALLER, **options}) for name, (path, options) in found.items()}


METHODS = {
    'tcl': 0.5,
    'tcl-pamr': 0.4,
    'groupvit': 0.95,
    'groupvit-unified': 0.95,
    'talk2dino': 0.55,
    'talk2dino-pamr': 0.55,
}


def _build(trained, method, background=False, classes=CLASSES, **options):
    checkpoint, small = trained[method]
    return apis.build_segmentor(
        classes, background, method, checkpoint, 'cpu', {**small, **options}
    )


def _background(model):
    return getattr(model.image_encoder, 'background', None) or getattr(model.rule, 'value', None)


@pytest.mark.parametrize('method', METHODS)
def test_trained_systems(trained, image_path, method):
    result = apis.segment(_build(trained, method), image_path)
    assert result.class_names == ('sky', 'grass', 'cat')
    assert result.palette == bright_palette(3)
    assert result.scores.shape == (3, 90, 120)
    assert apis.is_trained(method) and not apis.is_trained('sclip')


@pytest.mark.parametrize('method', METHODS)
def test_a_background_of_their_own(trained, image_path, method):
    model = _build(trained, method, True)
    assert _background(model) == METHODS[method]
    assert _background(_build(trained, method, False)) is None
    assert model.text_head.query_set.queries == ('sky', 'clouds', 'grass', 'cat')
    assert model.rule == model.rule.scoring
    result = apis.segment(model, image_path)
    assert result.class_names == ('background', 'sky', 'grass', 'cat')
    assert result.palette[0] == [0, 0, 0] and len(result.palette) == 4
    assert result.scores.shape == (4, 90, 120)
    assert (result.labels == result.scores.argmax(0)).all()


def test_a_background_of_their_own_takes_no_words(trained):
    with pytest.raises(InputError, match="method='tcl' has its own background, without"):
        _build(trained, 'tcl', ['wall'])
    with pytest.raises(InputError, match="two classes are called 'background'"):
        _build(trained, 'tcl', True, ['background', 'cat'])


def test_their_background_s_value_can_be_set(trained, image_path):
    def share(value):
        model = _build(trained, 'tcl', True, **{'model.test_cfg.background': value})
        return apis.segment(model, image_path).areas['background']

    assert share(0.0) < share(1.0) == 1


@pytest.fixture
def corrclip(tmp_path, dino_path):
    """A seeded CLIP of 5 blocks, and the options that make CorrCLIP fit it."""
    path = tmp_path / 'clip.pt'
    torch.save(seeded_clip(layers=5), path)
    options = {
        **SMALL,
        'model.image_encoder.proxy.checkpoint': dino_path,
        'model.image_encoder.method.blocks': (2, 3),
    }

    def build(**more):
        return apis.build_segmentor(CLASSES, False, 'corrclip', str(path), 'cpu', options, **more)

    return build


def test_corrclip_makes_its_regions(corrclip, image_path):
    model = corrclip()
    image = apis.read_image(image_path)
    result = apis.segment(model, image_path)
    regions = Felzenszwalb()(image[..., ::-1])
    assert (apis.segment(model, image, channels='bgr').labels == result.labels).all()
    assert (apis.segment(model, image_path, regions).labels == result.labels).all()
    assert _is_even(result.labels, regions)
    halves = np.ones(image.shape[:2], np.uint8)
    halves[40:] = 2
    assert _is_even(apis.segment(model, image_path, halves).labels, halves)
    with pytest.raises(InputError, match='the region map has shape'):
        apis.segment(model, image_path, halves[:9])


def _is_even(labels, regions):
    """Whether all pixels of a region have one label; those of the lowest id need not."""
    ids = np.unique(regions)[1:]
    return all(len(np.unique(labels[regions == region])) == 1 for region in ids)


@pytest.mark.parametrize(
    'regions, options',
    [
        ('felzenszwalb', {}),
        (dict(type='Felzenszwalb', scale=30), {}),
        (None, {'model.postprocess.type': 'RegionMajority'}),
        ('felzenszwalb', {'model.region_masks.scale': 30}),
    ],
)
def test_any_method_with_regions(clip_path, image_path, regions, options):
    def labels(options, regions=None):
        model = apis.build_segmentor(
            CLASSES, clip=clip_path, device='cpu', cfg_options=options, regions=regions
        )
        return apis.segment(model, image_path).labels

    scale = 30 if '30' in f'{regions}{options}' else 100
    ids = Felzenszwalb(scale=scale)(apis.read_image(image_path)[..., ::-1])
    plain, sharp = labels(SMALL), labels({**SMALL, **options}, regions)
    expected = majority_labels(torch.from_numpy(plain), torch.from_numpy(ids).long())
    assert (sharp == expected.numpy()).all()
    assert (sharp != plain).any()


def test_maps_from_files(clip_path, image_path, tmp_path):
    options = {
        **SMALL,
        'model.region_masks': str(tmp_path / '{stem}.npz'),
        'model.postprocess.type': 'RegionMajority',
    }
    model = apis.build_segmentor(CLASSES, clip=clip_path, device='cpu', cfg_options=options)
    with pytest.raises(InputError, match=r'image_0\.npz of .*image_0\.jpg does not exist'):
        apis.segment(model, image_path)
    halves = np.ones((90, 120), np.uint8)
    halves[40:] = 2
    np.savez(tmp_path / 'image_0.npz', instance_mask=halves)
    assert _is_even(apis.segment(model, image_path).labels, halves)
    with pytest.raises(InputError, match='segment an image from a file'):
        apis.segment(model, Image.open(image_path))


def test_an_unknown_generator(clip_path):
    with pytest.raises(InputError, match="'sam3' is not a region generator: use one of .*sam2"):
        apis.build_segmentor(CLASSES, clip=clip_path, regions='sam3')
