import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from skimage.segmentation import felzenszwalb

from sclip_mmseg import InputError
from sclip_mmseg.regions import SAM, SAM2, Felzenszwalb, find_generator, paint_masks, rank_by_area


def _image(size=(60, 80)):
    """Four areas of unequal colour and size, RGB."""
    image = np.zeros((*size, 3), np.uint8)
    image[:20] = 200, 0, 0
    image[20:, :30] = 0, 200, 0
    image[40:, 60:] = 0, 0, 200
    return image


def test_large_masks_hide_small_ones():
    masks = np.zeros((4, 4, 6), bool)
    masks[0, :, :4] = True
    masks[1, 0, :] = True
    masks[2, 1:3, 1:3] = True  # within the first
    masks[3, 3, 5] = True
    assert paint_masks(masks, (4, 6)).tolist() == [
        [4, 4, 4, 4, 3, 3],
        [4, 4, 4, 4, 0, 0],
        [4, 4, 4, 4, 0, 0],
        [4, 4, 4, 4, 0, 1],
    ]
    assert paint_masks([], (2, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_ids_rise_with_the_area():
    labels = np.array([[7, 7, 7], [2, 2, -1]])
    assert rank_by_area(labels).tolist() == [[3, 3, 3], [2, 2, 1]]


def test_felzenszwalb_finds_areas_of_even_colour():
    image = _image()
    ids = Felzenszwalb(sigma=0)(image)
    assert ids.dtype == np.int32 and ids.shape == (60, 80)
    colours = {tuple(image[ids == region].reshape(-1, 3).mean(0)) for region in np.unique(ids)}
    assert colours == {(200, 0, 0), (0, 200, 0), (0, 0, 200), (0, 0, 0)}
    areas = np.bincount(ids.flatten())
    assert areas.tolist() == [0, *sorted(areas[1:])] and len(areas) == 5


def test_felzenszwalb_is_scikit_image_s():
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    ids = Felzenszwalb(scale=30, sigma=0.5, min_size=9)(image)
    reference = felzenszwalb(image, scale=30, sigma=0.5, min_size=9)
    pairs = np.unique(np.stack([ids, reference]).reshape(2, -1), axis=1)
    assert pairs.shape[1] == ids.max() == reference.max() + 1  # the same regions


@pytest.mark.parametrize('size', [(60, 80), (120, 160)])
def test_felzenszwalb_of_a_resized_image(size):
    image = np.kron(np.arange(0, 240, 60).reshape(2, 2), np.ones((size[0] // 2, size[1] // 2)))
    image = np.repeat(image.astype(np.uint8)[..., None], 3, 2)
    ids = Felzenszwalb(sigma=0, min_size=700, short_side=60)(image)
    assert ids.shape == size and ids.dtype == np.int32
    assert [len(np.unique(ids == region)) for region in np.unique(ids)] == [2] * 4
    assert {*image[ids == 4].flatten()} == {*image[-1, -1]}  # pure and whole


def test_names(tmp_path, monkeypatch):
    assert find_generator('Felzenszwalb') == find_generator('FELZENSZWALB')
    assert find_generator('sam2') == dict(type='SAM2')
    assert find_generator(dict(type='SAM')) == dict(type='SAM')
    with pytest.raises(
        InputError, match=r"'felsenswalb' is not a region generator.*mean 'felzenszwalb'\?"
    ):
        find_generator('felsenswalb')
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'maps').mkdir()
    with pytest.raises(InputError, match=r'own maps --cfg-options model.region_masks=maps/{stem}'):
        find_generator('maps')


@pytest.mark.parametrize(
    'kind, options, message',
    [
        (Felzenszwalb, dict(scale=-1), 'scale=-1 must be a number, at least 0'),
        (Felzenszwalb, dict(sigma='a'), "sigma='a' must be a number"),
        (SAM2, dict(points_per_side=0), 'points_per_side=0 must be a positive integer'),
        (SAM, dict(iou_threshold=2), 'iou_threshold=2 must lie between 0 and 1'),
    ],
)
def test_bad_values(kind, options, message):
    with pytest.raises(InputError, match=message):
        kind(**options)


class _Pipeline:
    """What transformers' ``MaskGenerationPipeline`` does as far as it is used, on three masks."""

    def __init__(self, checkpoint, device):
        self.checkpoint, self.device = checkpoint, device
        self.calls = []

    def __call__(self, image, **options):
        assert isinstance(image, Image.Image) and image.mode == 'RGB'
        self.calls.append((options, self._forward(dict(image=image))))
        width, height = image.size
        masks = np.zeros((3, height, width), bool)
        masks[0, : height // 2] = True
        masks[1, :, : width // 4] = True
        masks[2, :2, :2] = True
        return dict(masks=list(masks), scores=[1, 1, 1])

    def _forward(self, model_inputs):
        return model_inputs


@pytest.fixture
def transformers(monkeypatch):
    """A stand-in for transformers and torchvision; returns the pipelines built."""
    module, built = ModuleType('transformers'), []

    def pipeline(task, model, device, pipeline_class):
        assert task == 'mask-generation' and issubclass(pipeline_class, _Pipeline)
        if model == 'absent':
            raise OSError('absent is not a local folder\nand more lines')
        built.append(pipeline_class(model, device))
        return built[-1]

    module.pipeline, module.MaskGenerationPipeline = pipeline, _Pipeline
    monkeypatch.setitem(sys.modules, 'transformers', module)
    monkeypatch.setitem(sys.modules, 'torchvision', ModuleType('torchvision'))
    return built


@pytest.mark.parametrize(
    'kind, checkpoint', [(SAM, 'facebook/sam-vit-huge'), (SAM2, 'facebook/sam2.1-hiera-large')]
)
def test_sam(transformers, kind, checkpoint):
    ids = kind(device='cpu')(_image((8, 12)))
    [pipeline] = transformers
    assert (pipeline.checkpoint, pipeline.device) == (checkpoint, 'cpu')
    [(options, inputs)] = pipeline.calls
    assert options == dict(points_per_crop=8, pred_iou_thresh=0.4, stability_score_thresh=0.4)
    assert inputs['multimask_output'] is False
    assert ids.dtype == np.int32
    assert (ids[:4] == 3).all() and (ids[4:, :3] == 2).all() and (ids[4:, 3:] == 0).all()


def test_values_of_sam_are_handed_on(transformers):
    generator = SAM2('model', 16, 0.7, 0.9, multimask=True, device='cpu')
    generator(_image())
    [(options, inputs)] = transformers[0].calls
    assert options == dict(points_per_crop=16, pred_iou_thresh=0.7, stability_score_thresh=0.9)
    assert inputs['multimask_output'] is True


def test_what_sam_lacks(transformers, monkeypatch):
    with pytest.raises(InputError, match="checkpoint='absent' cannot be loaded.*Hub") as caught:
        SAM2('absent', device='cpu')
    assert '\n' not in str(caught.value)
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    with pytest.raises(InputError, match=r'pip install "sclip_mmseg\[regions\]"'):
        SAM()
