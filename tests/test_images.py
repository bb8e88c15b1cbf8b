"""Damaged and unusual images that OpenCV decodes silently or without naming the file."""

import io
import os
import sys

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image

from sclip_mmseg.utils.images import decode_image, libjpeg_warnings

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


@pytest.mark.parametrize('content', [b'', b'no image', b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff'])
def test_a_file_that_is_not_an_image(content):
    assert decode_image(content) == (None, '')
