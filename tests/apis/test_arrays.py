"""Arrays and PIL images, given to the Python interface."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from sclip_mmseg import InputError, apis
from sclip_mmseg.apis.arrays import to_bgr

SMALL = {'model.test_cfg.crop_size': 112, 'model.test_cfg.stride': 56}
SIZE = (90, 120)


@pytest.fixture(scope='module')
def model(clip_path):
    classes = ['sky', 'grass', 'cat', 'dog']
    return apis.build_segmentor(classes, clip=clip_path, device='cpu', cfg_options=SMALL)


@pytest.fixture(scope='module')
def image():
    """An image, RGB, whose classes change with the order of its channels."""
    blocks = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(blocks, SIZE[::-1], interpolation=cv2.INTER_NEAREST)


@pytest.fixture
def expected(model, image, tmp_path):
    """Classes of the image as a file."""
    Image.fromarray(image).save(tmp_path / 'image.png')
    return apis.segment(model, tmp_path / 'image.png').labels


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
        with pytest.raises(
            InputError, match="channels='rgb' is for arrays and tensors: leave it out"
        ):
            apis.segment(model, other, channels='rgb')


def test_any_memory(model, image, expected):
    views = [image[:, ::-1][:, ::-1], np.asfortranarray(image), image.copy()]
    views[2].flags.writeable = False
    for view in views:
        before = view.copy()
        assert (apis.segment(model, view, channels='rgb').labels == expected).all()
        assert (view == before).all()


def _tensor(image):
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


ALIKE = {
    'floats': lambda x: (x / 255).astype(np.float32),
    'doubles': lambda x: x / 255,
    'halves': lambda x: (x / 255).astype(np.float16),
    'big-endian': lambda x: (x / 255).astype('>f8'),
    'alpha': lambda x: np.dstack([x, x[..., :1]]),
    'floats with alpha': lambda x: np.dstack([x, x[..., :1]]) / 255,
    'tensor': _tensor,
    'tensor of floats': lambda x: _tensor(x) / 255,
    'tensor of doubles': lambda x: _tensor(x).double() / 255,
    'tensor with a gradient': lambda x: (_tensor(x) / 255).requires_grad_(),
    'tensor, strided': lambda x: torch.from_numpy(x).permute(2, 0, 1),
    'tensor with alpha': lambda x: torch.cat([_tensor(x), _tensor(x)[:1]]),
}


@pytest.mark.parametrize('change', ALIKE.values(), ids=ALIKE)
def test_all_kinds_of_image_inputs(image, change):
    assert (to_bgr(change(image), 'rgb') == image[..., ::-1]).all()
    assert (to_bgr(change(image), 'bgr') == image).all()


def test_tensors_are_segmented(model, image, expected):
    assert (apis.segment(model, _tensor(image) / 255, channels='rgb').labels == expected).all()


GREY = {
    'bytes': lambda x: x,
    'one channel': lambda x: x[..., None],
    'floats': lambda x: x / 255,
    'tensor': torch.from_numpy,
    'tensor of one channel': lambda x: torch.from_numpy(x)[None],
    'bfloat16': lambda x: (torch.from_numpy(x) / 255).bfloat16(),  # 8 bits
}


@pytest.mark.parametrize('change', GREY.values(), ids=GREY)
def test_grey_images(image, change):
    """Grey images need no channel order."""
    grey = image[..., 0]
    read = to_bgr(change(grey))
    assert read.shape == image.shape and (read == read[..., :1]).all()
    assert np.abs(read[..., 0].astype(int) - grey).max() <= 1
    assert (to_bgr(change(grey), 'bgr') == read).all()


REFUSED = [
    (lambda x: x.astype(np.uint16) * 257, 'array of uint16.*image // 257'),
    (lambda x: x.astype(np.int64), 'int64'),
    (lambda x: x.astype(np.int8), 'int8'),
    (lambda x: x.astype(np.uint32), 'uint32'),
    (lambda x: x > 128, 'bool'),
    (lambda x: x.astype(object), 'object'),
    (lambda x: x.astype('S3'), r'\|S3'),
    (lambda x: x.astype('U3'), r'<U3'),
    (lambda x: x.astype(complex), 'complex128'),
    (lambda x: x.astype('m8[s]'), 'timedelta64'),
    (lambda x: x.view([('r', 'u1'), ('g', 'u1'), ('b', 'u1')]), r"\[\('r'"),
    (
        lambda x: x.astype(np.float32),
        r'image are from \d+ to 2\d\d:.*divide them by 255',
    ),
    (lambda x: x / 127.5 - 1, r'are from -0\.\d+ to .*undo the normalisation'),
    (lambda x: x * 1000.0, r'to 2\.\d+e\+05.*undo the normalisation'),
    (lambda x: np.where(x > 9, x / 255, np.nan), 'not all finite'),
    (lambda x: np.where(x > 9, x / 255, np.inf), 'not all finite'),
    (lambda x: x / 255 / 255, r'nearly black, its highest value being 0\.003\d+:'),
    (lambda x: x / np.float32(65535), 'nearly black'),
    (lambda x: (x > 128).astype(np.uint8), 'nearly black, its highest value being 1'),
    (lambda x: x.transpose(2, 0, 1), r'\[3, 90, 120\].*transpose\(1, 2, 0\)'),
    (lambda x: x[..., :1].transpose(2, 0, 1), r'\[1, 90, 120\].*transpose\(1, 2, 0\)'),
    (lambda x: x[..., :2], r'\[90, 120, 2\]: expected \[H, W, 3\]'),
    (lambda x: np.dstack([x, x]), r'\[90, 120, 6\]: expected \[H, W, 3\]'),
    (lambda x: x[None], 'one image of the batch'),
    (lambda x: x[None, None], r'\[1, 1, 90, 120, 3\]'),
    (lambda x: x[:0], 'no pixel'),
    (lambda x: x[:, :0], 'no pixel'),
    (lambda x: x[..., :0], 'no pixel'),
    (lambda x: x.ravel(), r'\[32400\]'),
    (lambda x: np.uint8(3), 'uint8 is not an image'),
    (lambda x: np.array(3, np.uint8), r'uint8, \[\]'),
    (lambda x: np.array([], np.uint8), 'no pixel'),
    (lambda x: np.ma.masked_greater(x, 99), 'MaskedArray is not an image'),
    (torch.from_numpy, r'tensor of torch\.uint8, \[90, 120, 3\].*permute\(2, 0, 1\)'),
    (lambda x: _tensor(x)[None], r'one image of the batch at a time, batch\[0\]'),
    (lambda x: _tensor(x).long(), 'int64'),
    (lambda x: _tensor(x) > 9, 'bool'),
    (lambda x: _tensor(x) + 0j, 'complex64'),
    (lambda x: _tensor(x).float(), 'divide them by 255'),
    (lambda x: _tensor(x).float() / 127 - 1, 'undo the normalisation'),
    (lambda x: _tensor(x).to_sparse(), 'a dense tensor'),
    (lambda x: _tensor(x).to('meta'), 'a dense tensor'),
    (lambda x: _tensor(x)[:2], r'\[2, 90, 120\]: expected \[3, H, W\]'),
    (lambda x: _tensor(x)[:, :0], 'no pixel'),
    (lambda x: torch.tensor(3), r'torch\.int64, \[\]'),
    (lambda x: x.tolist(), 'list is not an image'),
    (lambda x: [x], 'list is not an image'),
    (lambda x: (x, x), 'tuple is not an image'),
    (lambda x: {'image': x}, 'dict is not an image'),
    (lambda x: None, 'NoneType is not an image'),
    (lambda x: 7, 'int is not an image'),
    (lambda x: b'x.jpg', 'bytes is not an image'),
    (lambda x: io.BytesIO(x.tobytes()), 'BytesIO is not an image'),
    (lambda x: memoryview(x), 'memoryview is not an image'),
    (lambda x: x.data, 'memoryview is not an image'),
    (lambda x: (row for row in x), 'generator is not an image'),
    (lambda x: type(x), 'type is not an image'),
]


@pytest.mark.parametrize('change, said', REFUSED)
@pytest.mark.parametrize('channels', ['rgb', 'bgr'])
@pytest.mark.filterwarnings('error')
def test_other_arrays_are_one_line(image, change, said, channels):
    with pytest.raises(InputError, match=said) as error:
        to_bgr(change(image), channels)
    assert '\n' not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize(
    'text',
    [
        base64.b64encode(bytes(range(256)) * 9).decode(),
        'data:image/png;base64,iVBORw0KGgo=',
        'x\0.png',
        '\x89PNG\r\n',
        'a' * 5000,
    ],
)
def test_texts_that_are_not_paths(model, text):
    with pytest.raises(InputError, match=f'a text of {len(text)} characters is not a path') as said:
        apis.segment(model, text)
    assert '\n' not in str(said.value) and len(str(said.value)) < 200


def test_values_of_channels_are_not_printed(model, image):
    for other in (image, np.array(['rgb', 'bgr']), list(range(99)), 'r' * 99):
        for given in (image, 'x.jpg', Image.fromarray(image)):
            with pytest.raises(InputError, match='a value of type') as said:
                apis.segment(model, given, channels=other)
            assert len(str(said.value)) < 250


@pytest.mark.parametrize(
    'wrong', [np.zeros((2, 2, 3)), [None], None, 3, b'x', Image.new('1', (2, 2))]
)
def test_files_are_paths(wrong):
    with pytest.raises(InputError, match='is not a path: arrays and images are for apis.segment'):
        apis.segment_files(wrong, 'cat; dog')


def test_arguments_in_another_order(model, image):
    with pytest.raises(InputError, match='what apis.build_segmentor returns, not ndarray'):
        apis.segment(image, model)


def test_threads_share_a_model(model, image):
    """Each thread gets the classes of its own image."""
    images = [np.roll(image, 23 * number, axis=1) for number in range(3)]
    alone = [apis.segment(model, each, channels='rgb').scores for each in images]
    with ThreadPoolExecutor(3) as pool:
        together = pool.map(lambda each: apis.segment(model, each, channels='rgb').scores, images)
    assert all((a == b).all() for a, b in zip(alone, together))


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
    changed = change(Image.fromarray(image))
    changed.save(tmp_path / 'x.png', exif=changed.getexif())
    result = apis.segment(model, tmp_path / 'x.png')
    assert np.array_equal(apis.segment(model, changed).scores, result.scores)
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
    with pytest.raises(InputError, match='the PIL image has no pixels: it is 0×5'):
        apis.segment(model, Image.new('RGB', (0, 5)))


def test_regions_without_use(model, image):
    with pytest.raises(InputError, match="does not use regions.*regions='felzenszwalb'"):
        apis.segment(model, image, np.ones(SIZE, np.uint8), channels='rgb')


def test_an_image_that_would_have_no_row(model, tmp_path):
    thin = np.zeros((1, 5000, 3), np.uint8)
    with pytest.raises(InputError, match='the image is too thin to be resized: 1×5000 pixels'):
        apis.segment(model, thin, channels='rgb')
    Image.fromarray(thin.swapaxes(0, 1).copy()).save(tmp_path / 'thin.png')
    with pytest.raises(InputError, match=r'thin\.png is too thin to be resized: 5000×1 pixels'):
        apis.segment(model, tmp_path / 'thin.png')
    Image.new('RGB', (1, 1), 'red').save(tmp_path / 'point.png')
    assert apis.segment(model, tmp_path / 'point.png').labels.shape == (1, 1)
