"""Decoding of images, and damage that OpenCV ignores or reports without the file's name."""

import importlib.util
import io
import math
import os
import re
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import mmcv
import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ..old_names import keep_old_names
from .file_kinds import DAMAGED
from .stderr import redirect_stderr

keep_old_names(__name__, PICTURES='IMAGE_SUFFIXES', more_pictures='pillow_only_suffixes')

#: Suffixes of images that OpenCV reads, for which folders are searched.
IMAGE_SUFFIXES = {
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.apng', '.bmp', '.dib', '.webp', '.tif', '.tiff'),
    *('.avif', '.jp2', '.ppm', '.pgm', '.pbm', '.pnm', '.pam', '.ras', '.sr'),
}
#: Suffixes of images that Pillow reads with the package pillow-heif.
HEIF = {'.heic', '.heif', '.hif'}
#: Suffixes of images for which Pillow is tried.
_BY_PILLOW = {'.tga', *HEIF, '.avif', '.jp2', '.apng'}
#: Exceptions of Pillow, OpenCV and mmcv for missing, truncated and damaged files, and non-images.
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, AssertionError),
    *(cv2.error, Image.DecompressionBombError),
)
#: Messages of libjpeg about damaged data.
_DAMAGE = re.compile(
    r'^(?:Corrupt JPEG data|Premature end of JPEG|Inconsistent progression|Invalid SOS).*\n?',
    re.MULTILINE,
)
#: Warnings about TIFF tags that OpenCV does not know; they do not affect pixels.
_TAGS = re.compile(r'^.*TIFF.*Unknown field with tag.*\n?', re.MULTILINE)
#: A few bytes that some encoders append to a complete image; damage may cause them as well.
EXTRANEOUS = re.compile(r': \d\d? extraneous bytes before marker 0xd9')
# Values of 16-bit images that need at most 14 bits are raw sensor values, which look nearly black.
_BITS = 14
_ORIENTATION = 0x0112  # EXIF tag
# Tags of TIFF, and values of the first two.
_COLORS, _EXTRA_BANDS, _COUNT = 262, 338, 277
_GREY, _RGB = (0, 1), 2
_ALPHA, _ASSOCIATED_ALPHA = 2, 1
_MOST_BANDS = 4  # that OpenCV reads
_BIG_TIFF = b'+'
_lock = threading.Lock()  # the process has one standard error


@cache
def reads_heif() -> bool:
    """Whether pillow-heif is installed; registers it with Pillow."""
    if importlib.util.find_spec('pillow_heif') is None:
        return False
    import pillow_heif

    pillow_heif.register_heif_opener()
    return True


def pillow_only_suffixes() -> set[str]:
    """Suffixes of images that the installed Pillow reads but OpenCV does not."""
    return {'.tga', *(HEIF if reads_heif() else ())}


def most_pixels() -> float:
    """Number of pixels above which Pillow refuses an image; infinity if it refuses none."""
    return 2 * Image.MAX_IMAGE_PIXELS if Image.MAX_IMAGE_PIXELS else math.inf


def decode_by_pillow(path: Path) -> np.ndarray | None:
    """Decode an image of a format that OpenCV may lack; the result is as in :func:`decode_image`.

    Returns:
        The image; None for other formats, or if Pillow cannot decode it either.
    """
    suffix = path.suffix.lower()
    if suffix not in _BY_PILLOW or (suffix in HEIF and not reads_heif()):
        return None
    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert('RGB'))[..., ::-1].copy()
    except UNREADABLE:
        return None


@contextmanager
def libjpeg_warnings() -> Iterator[list[str]]:
    """Capture libjpeg's warnings about damaged data, which it prints without a file name.

    Other output to standard error is delayed until the context ends.

    Yields:
        A list that is filled when the context ends; empty if there were no warnings.
    """
    messages: list[str] = []
    with _lock, tempfile.TemporaryFile() as captured:
        try:
            with redirect_stderr(captured):
                yield messages
        finally:
            captured.seek(0)
            if text := captured.read():
                lines = text.decode(errors='surrogateescape')
                messages += (match.group().strip() for match in _DAMAGE.finditer(lines))
                rest = _TAGS.sub('', _DAMAGE.sub('', lines))
                os.write(2, rest.encode(errors='surrogateescape'))


def tiff_tags(file: BinaryIO) -> dict[int, Any]:
    """Tags of the first image in a TIFF file; empty if it is another or a damaged file."""
    try:
        header = file.read(8)
        if _BIG_TIFF in header[2:4]:
            header += file.read(8)
        directory = ImageFileDirectory_v2(header)
        file.seek(directory.next)
        directory.load(file)
        return dict(directory)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return {}


def find_band_flaw(content: bytes) -> str:
    """Say why OpenCV does not decode the colours of a TIFF file.

    Of bands without colours, it reads the first as grey; it multiplies colours by alpha.

    Args:
        content: Content of the file.

    Returns:
        A predicate that follows the file's name; empty if nothing is wrong.
    """
    if not content.startswith((b'II', b'MM')):
        return ''
    tags = tiff_tags(io.BytesIO(content))
    count, colors, extra = tags.get(_COUNT, 1), tags.get(_COLORS), tags.get(_EXTRA_BANDS, ())
    if not isinstance(count, int):  # damaged, and refused by OpenCV
        return ''
    alphas = sum(band in (_ALPHA, _ASSOCIATED_ALPHA) for band in extra)
    if count > _MOST_BANDS or (colors in _GREY and count - alphas > 1):
        return (
            f'has {count} bands: give the numbers of red, green and blue, or of a grey one, as in '
            "bands='3,2,1' (--bands), or save these alone"
        )
    if colors == _RGB and _ALPHA in extra and not _is_opaque(content):
        return (
            "has an alpha band, by which its colours would be multiplied: give bands='1,2,3' "
            '(--bands) to leave out pixels whose alpha is 0, or save it without alpha'
        )
    return ''


def _is_opaque(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.getchannel('A').getextrema() == (255, 255)
    except (*UNREADABLE, *DAMAGED):
        return False


def find_flaw(content: bytes, messages: list[str]) -> str:
    """Say why the pixels that OpenCV decodes differ from the encoded ones.

    Args:
        content: Content of the file.
        messages: Warnings from :func:`libjpeg_warnings`.

    Returns:
        A predicate that follows the file's name; empty if nothing is wrong.
    """
    if messages:
        return f'contains damaged data ({messages[0]}): download or save it again'
    if not content or not may_be_dark(content):
        return ''
    with libjpeg_warnings():
        stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype == np.uint8:
        return ''
    if stored.dtype != np.uint16:
        return f'contains {stored.dtype} values: save it with 8 bits per value, 0 to 255'
    bits = int(stored.max()).bit_length()
    if 0 < bits <= _BITS:
        return (
            f'has 16 bits per value but only uses {bits} (its highest value is {stored.max()}), '
            'which makes it nearly black: scale its values, or save it with 8 bits'
        )
    return ''


def may_be_dark(content: bytes) -> bool:
    """Whether a file may have more than 8 bits per value, judging by its first bytes."""
    if content.startswith(b'\x89PNG'):
        return content[24:25] == b'\x10'
    has_bytes = content.startswith((b'\xff\xd8', b'BM', b'RIFF', b'GIF8'))
    return not has_bytes and content[4:8] != b'ftyp'


def orientation_of(content: bytes) -> int:
    """EXIF orientation of an image: 2 to 8 if it is rotated or mirrored, otherwise 1.

    Args:
        content: Content of the file.
    """
    if content.startswith(b'\x89PNG') and b'eXIf' not in content:
        return 1  # Pillow would decode the pixels to search for EXIF data after them
    try:
        with Image.open(io.BytesIO(content)) as image:
            value = image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 1
    return value if value in range(2, 9) else 1


def decode_image(content: bytes) -> tuple[np.ndarray | None, str]:
    """Decode an image as mmcv does by default: upright, BGR, uint8 ``[H, W, 3]``.

    Args:
        content: Content of the file.

    Returns:
        The image, or None if OpenCV cannot decode it; and the result of :func:`find_band_flaw` or
        :func:`find_flaw`.

    Raises:
        cv2.error: If the header is invalid.
    """
    if flaw := find_band_flaw(content):
        return None, flaw
    with libjpeg_warnings() as messages:
        image = mmcv.imfrombytes(content) if content else None
    return image, find_flaw(content, messages)
