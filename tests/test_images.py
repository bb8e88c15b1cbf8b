"""Damaged and unusual images that OpenCV decodes silently or without naming the file."""

import io
import os
import struct
import sys

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image

from sclip_mmseg.utils.images import decode_image, libjpeg_warnings, tiff_tags

NOISE = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)


def encode(image, suffix='.png'):
    return cv2.imencode(suffix, image)[1].tobytes()


def damaged_jpeg():
    content = bytearray(encode(NOISE, '.jpg'))
    content[-600:-2] = bytes(598)
    return bytes(content)


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.bmp', '.tif'])
def test_a_whole_image_is_what_mmcv_reads(suffix, tmp_path, capfd):
    path = tmp_path / f'image{suffix}'
    path.write_bytes(encode(NOISE, suffix))
    image, flaw = decode_image(path.read_bytes())
    assert np.array_equal(image, mmcv.imread(str(path))) and flaw == ''
    assert capfd.readouterr().err == ''


def test_damaged_data_are_returned_instead_of_printed(capfd):
    image, flaw = decode_image(damaged_jpeg())
    assert image.shape == NOISE.shape
    assert flaw.startswith('contains damaged data (Corrupt JPEG data: ')
    assert capfd.readouterr().err == ''


def test_other_words_reach_the_standard_error(capfd):
    with libjpeg_warnings() as said:
        os.write(2, b'before\n')
        cv2.imdecode(np.frombuffer(damaged_jpeg(), np.uint8), cv2.IMREAD_COLOR)
        os.write(2, b'after\n')
    assert len(said) == 1
    assert capfd.readouterr().err == 'before\nafter\n'


def test_an_error_meanwhile_gives_the_standard_error_back(capfd):
    with pytest.raises(KeyError), libjpeg_warnings():
        os.write(2, b'meanwhile\n')
        raise KeyError
    os.write(2, b'afterwards\n')
    assert capfd.readouterr().err == 'meanwhile\nafterwards\n'


def test_without_a_standard_error(monkeypatch):
    monkeypatch.setattr(sys, 'stderr', None)
    assert decode_image(encode(NOISE))[1] == ''


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.ppm'])
@pytest.mark.parametrize('bits', [8, 12, 14, 15, 16])
def test_few_bits_in_sixteen(suffix, bits):
    image = NOISE.astype(np.uint16) << 8 >> (16 - bits)
    image[0, 0] = 2**bits - 1
    flaw = decode_image(encode(image, suffix))[1]
    assert (
        flaw.startswith(f'has 16 bits per value but only uses {bits} ') if bits < 15 else flaw == ''
    )


def test_a_black_image_of_sixteen_bits():
    assert decode_image(encode(np.zeros((8, 8), np.uint16)))[1] == ''


def test_float_values():
    buffer = io.BytesIO()
    Image.fromarray(NOISE[..., 0] / np.float32(255)).save(buffer, 'TIFF')
    image, flaw = decode_image(buffer.getvalue())
    assert image is None and flaw.startswith('contains float32 values')


def tiff(mode, alpha=255, **tags):
    """A TIFF of Pillow's whose tags, numbers of 16 bits, are then given other values."""
    image, buffer = Image.fromarray(NOISE).convert(mode), io.BytesIO()
    if mode.endswith('A'):
        image.putalpha(alpha)
    image.save(buffer, 'TIFF')
    content = buffer.getvalue()
    for name, value in tags.items():
        entry = struct.pack('<HHI', dict(colors=262, count=277, extra=338)[name], 3, 1)
        assert content.count(entry) == 1
        place = content.index(entry) + len(entry)
        content = content[:place] + struct.pack('<H', value) + content[place + 2 :]
    return content


@pytest.mark.parametrize(
    'content',
    [
        tiff('RGB'),
        tiff('RGBA'),
        tiff('RGBA', alpha=9, extra=0),  # another band, such as infrared
        tiff('RGBA', alpha=9, extra=1),  # already multiplied
        tiff('CMYK'),
    ],
)
def test_colors_of_a_tiff(content):
    image, flaw = decode_image(content)
    assert np.array_equal(image[..., ::-1], NOISE) and flaw == ''


@pytest.mark.parametrize('mode', ['L', 'LA'])
def test_a_grey_tiff(mode):
    image, flaw = decode_image(tiff(mode, alpha=9))
    assert np.array_equal(image[..., 0], Image.fromarray(NOISE).convert('L')) and flaw == ''


@pytest.mark.parametrize(
    'content, said',
    [
        (tiff('RGBA', colors=1, extra=0), 'has 4 bands: give the numbers of red, green and blue'),
        (tiff('RGB', colors=1), 'has 3 bands: '),
        (tiff('LA', extra=0), 'has 2 bands: '),
        (tiff('RGB', count=5), 'has 5 bands: '),
        (tiff('RGBA', alpha=254), 'has an alpha band, by which its colours would be multiplied: '),
    ],
)
def test_a_tiff_whose_colors_would_be_wrong(content, said, capfd):
    image, flaw = decode_image(content)
    assert image is None and flaw.startswith(said) and '(--bands)' in flaw
    assert capfd.readouterr().err == ''


def test_a_tiff_with_damaged_offsets():
    offsets = struct.pack('<H', 273)
    content = tiff('RGBA').replace(
        offsets + struct.pack('<H', 4),
        offsets + struct.pack('<H', 11),  # the type, float32
    )
    image, flaw = decode_image(content)  # raises nothing
    assert image is None and flaw.startswith('has an alpha band')


@pytest.mark.parametrize('content', [b'', b'II*', b'II*\0', b'II+\0\0\0\0\0', b'II*\0\xff\0\0\0'])
def test_tags_of_a_file_that_is_not_a_tiff(content):
    assert tiff_tags(io.BytesIO(content)) == {}


@pytest.mark.parametrize('content', [b'', b'no image', b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff'])
def test_a_file_that_is_not_an_image(content):
    assert decode_image(content) == (None, '')
