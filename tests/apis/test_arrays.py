"""Arrays and PIL images, given to the Python interface."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from sclip_mmseg import InputError, apis

SMALL = {'model.test_cfg.crop_size': 112, 'model.test_cfg.stride': 56}
SIZE = (90, 120)


@pytest.fixture(scope='module')
def model(clip_path):
    classes = ['sky', 'grass', 'cat', 'dog']
    return apis.build_segmentor(classes, clip=clip_path, device='cpu', cfg_options=SMALL)


@pytest.fixture(scope='module')
def image():
    """A picture, RGB, whose classes change with the order of its channels."""
    blocks = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(blocks, SIZE[::-1], interpolation=cv2.INTER_NEAREST)


@pytest.fixture
def expected(model, image, tmp_path):
    """Classes of the picture as a file."""
    Image.fromarray(image).save(tmp_path / 'picture.png')
    return apis.segment(model, tmp_path / 'picture.png').labels


def test_channels(model, image, expected):
    swapped = np.ascontiguousarray(image[..., ::-1])
    assert (apis.segment(model, image, channels='rgb').labels == expected).all()
    assert (apis.segment(model, swapped, channels='bgr').labels == expected).all()
    assert (apis.segment(model, image, channels='bgr').labels != expected).any()


@pytest.mark.parametrize('channels', [None, 'RGB', 'gbr', 3])
def test_channels_are_to_be_said(model, image, channels):
    with pytest.raises(InputError, match="channels='rgb' .* or channels='bgr'") as error:
        apis.segment(model, image, channels=channels)
    assert (repr(channels) in str(error.value)) == (channels is not None)


def test_channels_are_of_arrays(model, image, tmp_path):
    Image.fromarray(image).save(tmp_path / 'x.png')
    for other in (tmp_path / 'x.png', Image.fromarray(image)):
        with pytest.raises(InputError, match="channels='rgb' is for arrays: leave it out"):
            apis.segment(model, other, channels='rgb')


def test_any_memory(model, image, expected):
    views = [image[:, ::-1][:, ::-1], np.asfortranarray(image), image.copy()]
    views[2].flags.writeable = False
    for view in views:
        before = view.copy()
        assert (apis.segment(model, view, channels='rgb').labels == expected).all()
        assert (view == before).all()


@pytest.mark.parametrize(
    'change, said',
    [
        (lambda x: (x / 255).astype(np.float32), r'float32, \[90, 120, 3\].*\(image \* 255\)'),
        (lambda x: x.astype(np.float64), 'float64'),
        (lambda x: x.astype(np.float16), 'float16'),
        (lambda x: x.astype(np.uint16) * 257, 'uint16.*image // 257'),
        (lambda x: x.astype(np.int64), 'int64'),
        (lambda x: x.astype(np.int8), 'int8'),
        (lambda x: x > 128, 'bool'),
        (lambda x: x.astype(object), 'object'),
        (lambda x: x.astype('S3'), r'\|S3'),
        (lambda x: np.dstack([x, x[..., :1]]), r'\[90, 120, 4\].*image\[\.\.\., :3\]'),
        (lambda x: x.transpose(2, 0, 1), r'\[3, 90, 120\].*transpose\(1, 2, 0\)'),
        (lambda x: x[..., 0], r'\[90, 120\].*np\.dstack'),
        (lambda x: x[..., :1], r'\[90, 120, 1\].*np\.dstack'),
        (lambda x: x[..., :2], r'\[90, 120, 2\]: expected uint8 \[H, W, 3\]'),
        (lambda x: x[None], 'one picture of the batch'),
        (lambda x: x[:0], 'no pixel'),
        (lambda x: x[:, :0], 'no pixel'),
        (lambda x: x[..., :0], 'no pixel'),
        (lambda x: np.uint8(3), 'uint8 is not taken as a picture'),
        (lambda x: np.array(3, np.uint8), r'uint8, \[\]'),
        (lambda x: np.array([], np.uint8), 'no pixel'),
        (torch.from_numpy, 'Tensor is not taken as a picture: .* NumPy array uint8'),
        (lambda x: x.tolist(), 'list is not taken'),
        (lambda x: None, 'NoneType is not taken'),
        (lambda x: b'x.jpg', 'bytes is not taken'),
    ],
)
@pytest.mark.parametrize('channels', ['rgb', None])
def test_other_arrays_are_one_line(model, image, change, said, channels):
    with pytest.raises(InputError, match=said) as error:
        apis.segment(model, change(image), channels=channels)
    assert '\n' not in str(error.value)


def _with_alpha(image):
    alpha = np.tile(np.linspace(0, 255, SIZE[1]).astype(np.uint8), (SIZE[0], 1))
    return Image.merge('RGBA', [*image.split(), Image.fromarray(alpha)])


def _see_through(image):
    image = image.convert('P', palette=Image.Palette.ADAPTIVE, colors=8)
    image.info['transparency'] = bytes(range(0, 256, 32))
    return image


def _rotated(image):
    image.getexif()[0x0112] = 6
    return image


@pytest.mark.parametrize(
    'change',
    [
        lambda x: x,
        _with_alpha,
        lambda x: _with_alpha(x).convert('LA'),
        lambda x: x.convert('L'),
        lambda x: x.convert('1'),
        lambda x: x.convert('P'),
        _see_through,
        _rotated,
    ],
    ids=['RGB', 'RGBA', 'LA', 'L', '1', 'P', 'transparent P', 'EXIF'],
)
def test_pil_images_are_read_as_files(model, image, change, tmp_path):
    picture = change(Image.fromarray(image))
    picture.save(tmp_path / 'x.png', exif=picture.getexif())
    result = apis.segment(model, tmp_path / 'x.png')
    assert np.array_equal(apis.segment(model, picture).scores, result.scores)
    with Image.open(tmp_path / 'x.png') as opened:
        assert np.array_equal(apis.segment(model, opened).scores, result.scores)


@pytest.mark.parametrize('mode', ['CMYK', 'YCbCr', 'HSV', 'LAB', 'I', 'F', 'I;16'])
def test_pil_images_of_other_modes(model, mode):
    with pytest.raises(InputError, match=rf"mode '{mode}'.*image\.convert\('RGB'\)"):
        apis.segment(model, Image.new(mode, SIZE))


def test_a_pil_image_of_a_cut_file(model, image, tmp_path):
    path = tmp_path / 'x.png'
    Image.fromarray(image).resize((400, 300)).save(path)
    path.write_bytes(path.read_bytes()[:300])
    with Image.open(path) as cut, pytest.raises(InputError, match='PIL image cannot be read'):
        apis.segment(model, cut)
    with pytest.raises(InputError, match='the PIL image has no pixel: it is 0×5'):
        apis.segment(model, Image.new('RGB', (0, 5)))


def test_regions_without_use(model, image):
    with pytest.raises(InputError, match="no use for regions.*regions='felzenszwalb'"):
        apis.segment(model, image, np.ones(SIZE, np.uint8), channels='rgb')


def test_a_picture_that_would_have_no_row(model, tmp_path):
    thin = np.zeros((1, 5000, 3), np.uint8)
    with pytest.raises(InputError, match='the picture is too thin to be resized: 1×5000 pixels'):
        apis.segment(model, thin, channels='rgb')
    Image.fromarray(thin.swapaxes(0, 1).copy()).save(tmp_path / 'thin.png')
    with pytest.raises(InputError, match=r'thin\.png is too thin to be resized: 5000×1 pixels'):
        apis.segment(model, tmp_path / 'thin.png')
    Image.new('RGB', (1, 1), 'red').save(tmp_path / 'point.png')
    assert apis.segment(model, tmp_path / 'point.png').labels.shape == (1, 1)
