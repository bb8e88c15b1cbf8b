"""Values of files reach the evaluation unchanged, or the error names the file."""

import cv2
import numpy as np
import pytest
from mmcv.transforms import Resize
from mmengine.dataset import Compose
from mmseg.registry import TRANSFORMS
from PIL import Image

from sclip_mmseg import InputError
from sclip_mmseg.datasets.loading import (
    CheckedImageLoader,
    LoadAnnotations,
    LoadImageFromFile,
    StoredIdsLoader,
    with_checked_loaders,
)

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
IDS = np.resize(np.arange(256, dtype=np.uint8), (40, 60))


def load_label(loader, path, reduce=False, label_map=None):
    info = dict(
        seg_map_path=str(path), reduce_zero_label=reduce, label_map=label_map, seg_fields=[]
    )
    return loader(info)['gt_seg_map']


def write(label, path):
    Image.fromarray(label).save(path)
    return path


@pytest.mark.parametrize('label_map', [None, {0: 1, 1: 0, 2: 255, 40: 2}])
@pytest.mark.parametrize('reduce', [False, True])
@pytest.mark.parametrize('mode', ['L', 'P', '1'])
def test_labels_of_8_bits_are_those_of_mmseg(tmp_path, mode, reduce, label_map):
    path = tmp_path / 'label.png'
    Image.fromarray(IDS).convert(mode).save(path)
    expected = load_label(LoadAnnotations(), path, reduce, label_map)
    found = load_label(StoredIdsLoader(), path, reduce, label_map)
    assert found.dtype == expected.dtype and np.array_equal(found, expected)


@pytest.mark.parametrize('suffix', ['png', 'tif'])
@pytest.mark.parametrize('backend', ['pillow', 'cv2'])
def test_ids_of_16_bits_are_kept(tmp_path, suffix, backend):
    label = np.array([[0, 20, 255], [256, 257, 65535]], dtype=np.uint16)
    path = write(label, tmp_path / f'label.{suffix}')
    assert np.array_equal(load_label(StoredIdsLoader(imdecode_backend=backend), path), label)


def test_ids_of_32_bits_are_kept(tmp_path):
    label = np.array([[0, -1], [70000, 256]], dtype=np.int32)
    assert np.array_equal(load_label(StoredIdsLoader(), write(label, tmp_path / 'l.tif')), label)


@pytest.mark.parametrize(
    'stored, ignore_index, expected',
    [
        (np.uint16, 65535, [65535, 0, 254, 299, 65535]),
        (np.uint16, 255, [255, 0, 255, 299, 65534]),
        (np.uint8, 300, [300, 0, 254, 43, 254]),
    ],
)
def test_reduced_labels_keep_their_ids(tmp_path, stored, ignore_index, expected):
    path = write(np.array([[0, 1, 255, 300, 65535]]).astype(stored), tmp_path / 'label.png')
    assert load_label(StoredIdsLoader(ignore_index), path, reduce=True)[0].tolist() == expected


def test_chosen_classes_beyond_8_bits(tmp_path):
    path = write(np.array([[0, 1, 2]], dtype=np.uint8), tmp_path / 'label.png')
    loader = StoredIdsLoader(65535)
    assert load_label(loader, path, label_map={0: 299, 1: 255, 2: 0})[0].tolist() == [299, 65535, 0]


def test_a_label_of_one_column(tmp_path):
    path = write(IDS[:, :1], tmp_path / 'label.png')
    assert load_label(StoredIdsLoader(), path).shape == (40, 1)


def test_a_label_of_other_values(tmp_path):
    path = write(IDS.astype(np.float32), tmp_path / 'label.tif')
    with pytest.raises(InputError, match=r'label.tif holds float32 values, expected integers'):
        load_label(StoredIdsLoader(), path)


def test_loaders_are_replaced_wherever_they_are(tmp_path):
    label = np.full((40, 60), 300, dtype=np.uint16)
    write(label, tmp_path / 'label.png'), write(NOISE, tmp_path / 'image.jpg')
    flips = [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)]
    augmented = [flips, [dict(type='LoadAnnotations')], [dict(type='PackSegInputs')]]
    pipeline = Compose(
        [
            TRANSFORMS.build(dict(type='LoadImageFromFile')),
            TRANSFORMS.build(dict(type='TestTimeAug', transforms=augmented)),
        ]
    )

    def run(pipeline):
        info = dict(img_path=str(tmp_path / 'image.jpg'), seg_map_path=str(tmp_path / 'label.png'))
        samples = pipeline({**info, 'reduce_zero_label': False, 'seg_fields': []})['data_samples']
        return [sample.gt_sem_seg.data.unique().tolist() for sample in samples]

    checked = Compose(with_checked_loaders(pipeline.transforms, 255))
    assert run(checked) == [[300], [300]]
    assert isinstance(checked.transforms[0], CheckedImageLoader)
    assert run(pipeline) == [[44], [44]]  # left as it was
    assert type(pipeline.transforms[0]) is LoadImageFromFile


def test_labels_beyond_8_bits_can_be_resized(tmp_path):
    path = write(np.full((40, 60), 70000, dtype=np.int32), tmp_path / 'label.tif')
    label = load_label(StoredIdsLoader(), path)
    info = Resize(scale=(30, 20), keep_ratio=True)(dict(img=NOISE, gt_seg_map=label))
    assert info['gt_seg_map'].shape == (20, 30) and np.unique(info['gt_seg_map']).tolist() == [
        70000
    ]


def load_image(path, label=None, **options):
    info = dict(img_path=str(path), **(dict(seg_map_path=str(label)) if label else {}))
    return CheckedImageLoader(**options)(info)['img']


def write_turned(path, orientation, image=NOISE):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image).save(path, exif=exif)
    return path


@pytest.mark.parametrize('options', [{}, dict(imdecode_backend='pillow')])
@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'tif'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_a_turned_image_beside_its_label(tmp_path, orientation, suffix, options):
    label = write(IDS, tmp_path / 'label.png')
    path = write_turned(tmp_path / f'image.{suffix}', orientation)
    assert load_image(path, **options).shape[1] == (40 if orientation >= 5 else 60)
    if orientation == 1:
        assert load_image(path, label, **options).shape == NOISE.shape
        return
    with pytest.raises(InputError, match=rf'image.{suffix} has EXIF orientation {orientation}, .*'):
        load_image(path, label, **options)
    if suffix != 'tif':  # which is turned whatever is asked for
        stored = load_image(path, label, color_type='color_ignore_orientation', **options)
        assert stored.shape == NOISE.shape


@pytest.mark.parametrize('orientation', range(2, 9))
def test_a_label_of_the_turned_size_is_turned(tmp_path, orientation):
    path = write_turned(tmp_path / 'image.jpg', orientation)
    label = write(IDS.T.copy(), tmp_path / 'label.png')
    if orientation >= 5:
        assert load_image(path, label).shape == (60, 40, 3)
    else:
        with pytest.raises(InputError, match='EXIF orientation'):
            load_image(path, label)


def test_a_square_image_may_be_turned_or_not(tmp_path):
    path = write_turned(tmp_path / 'image.jpg', 6, NOISE[:, :40])
    with pytest.raises(InputError, match='EXIF orientation 6'):
        load_image(path, write(IDS[:, :40], tmp_path / 'label.png'))


@pytest.mark.parametrize(
    'damage, said', [(bytes(1500), '[0-9]{3} extraneous bytes'), (b'\xff\xd9', 'premature end')]
)
def test_a_damaged_image_is_named(tmp_path, capfd, damage, said):
    path = tmp_path / 'image.jpg'
    content = bytearray(cv2.imencode('.jpg', NOISE)[1].tobytes())
    content[1500 : 1500 + len(damage)] = damage
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf'image.jpg contains damaged data .*{said}'):
        load_image(path)
    assert capfd.readouterr().err == ''


def test_bytes_behind_the_image_are_said_of_it(tmp_path):
    path = tmp_path / 'image.jpg'
    content = cv2.imencode('.jpg', NOISE)[1].tobytes()
    path.write_bytes(content[:-2] + b'\x12\x34\x56' + content[-2:])
    with pytest.warns(UserWarning, match=r'image.jpg contains damaged data .* extraneous bytes'):
        assert load_image(path).shape == NOISE.shape


def test_images_of_other_depths_are_named(tmp_path):
    dark, floats = tmp_path / 'dark.png', tmp_path / 'floats.tif'
    cv2.imwrite(str(dark), NOISE.astype(np.uint16) << 4)
    write(NOISE[..., 0] / np.float32(255), floats)
    with pytest.raises(InputError, match=r'dark.png has 16 bits per value but only uses 12 '):
        load_image(dark)
    with pytest.raises(InputError, match=r'floats.tif contains float32 values'):
        load_image(floats)


def test_a_missing_image_is_left_to_the_loader(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_image(tmp_path / 'image.jpg')
    assert CheckedImageLoader(ignore_empty=True)(dict(img_path='/nowhere.jpg')) is None


@pytest.mark.parametrize('orientation', [3, 6])
def test_a_file_that_is_read_again_must_not_be_turned_then(tmp_path, orientation):
    path = write_turned(tmp_path / 'image.jpg', orientation)
    options = dict(color_type='color_ignore_orientation', reads_again=True)
    with pytest.raises(InputError, match=f'EXIF orientation {orientation}'):
        load_image(path, write(IDS, tmp_path / 'label.png'), **options)
    assert load_image(write_turned(path, 1), tmp_path / 'label.png', **options) is not None
