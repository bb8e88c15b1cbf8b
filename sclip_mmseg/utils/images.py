"""Faults of image files that OpenCV decodes without naming the file, or without a warning."""

import importlib.util
import io
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import cv2
import mmcv
import numpy as np
from PIL import Image, ImageOps

#: What OpenCV reads, and folders are searched for, by suffix.
PICTURES = {
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.apng', '.bmp', '.dib', '.webp', '.tif', '.tiff'),
    *('.avif', '.jp2', '.ppm', '.pgm', '.pbm', '.pnm', '.pam', '.ras', '.sr'),
}
#: What Pillow reads by the package pillow-heif.
HEIF = {'.heic', '.heif', '.hif'}
#: What Pillow reads.
_BY_PILLOW = {'.tga', *HEIF, '.avif', '.jp2', '.apng'}
#: What Pillow, OpenCV and mmcv raise on a file that is missing, cut off, damaged or not an image.
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, AssertionError),
    *(cv2.error, Image.DecompressionBombError),
)
#: Messages of libjpeg on data that it cannot decode as they were encoded.
_DAMAGE = re.compile(
    r'^(?:Corrupt JPEG data|Premature end of JPEG|Inconsistent progression|Invalid SOS).*\n?',
    re.MULTILINE,
)
#: Tags of TIFF files that OpenCV does not know, none of which changes pixels.
_TAGS = re.compile(r'^.*TIFF.*Unknown field with tag.*\n?', re.MULTILINE)
#: A few bytes that some encoders leave behind a whole image; damage may leave them as well.
EXTRANEOUS = re.compile(r': \d\d? extraneous bytes before marker 0xd9')
_BITS = (
    14  # of 16; values that use no more are those of a sensor, and less than a quarter as bright
)
_ORIENTATION = 0x0112  # tag of EXIF
_lock = threading.Lock()  # the process has one standard error


@cache
def reads_heif() -> bool:
    """Whether pillow-heif is installed; Pillow reads such files afterwards."""
    if importlib.util.find_spec('pillow_heif') is None:
        return False
    import pillow_heif

    pillow_heif.register_heif_opener()
    return True


def more_pictures() -> set[str]:
    """Suffixes of what Pillow reads and OpenCV does not, as far as it is installed."""
    return {'.tga', *(HEIF if reads_heif() else ())}


def decode_by_pillow(path: Path) -> np.ndarray | None:
    """Decode a picture of a kind that OpenCV lacks, or may lack, as :func:`decode_image` does.

    Returns:
        None where Pillow cannot decode it either, or it is of another kind.
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
    """Collect what libjpeg says of damaged data, which OpenCV lets it print without a name.

    Whatever else is written to the standard error meanwhile is written there afterwards.

    Yields:
        A list that is filled at the end; empty where all is well.
    """
    said: list[str] = []
    with _lock:
        try:
            sys.stderr.flush()
            saved = os.dup(2)
        except (AttributeError, OSError, ValueError):  # there is none
            yield said
            return
        with tempfile.TemporaryFile() as heard:
            os.dup2(heard.fileno(), 2)
            try:
                yield said
            finally:
                os.dup2(saved, 2)
                os.close(saved)
                heard.seek(0)
                text = heard.read()
                if text:
                    lines = text.decode(errors='surrogateescape')
                    said += (match.group().strip() for match in _DAMAGE.finditer(lines))
                    rest = _TAGS.sub('', _DAMAGE.sub('', lines))
                    os.write(2, rest.encode(errors='surrogateescape'))


def find_flaw(content: bytes, said: list[str]) -> str:
    """Say why the pixels that OpenCV decodes are not those that were encoded.

    Args:
        content: The file.
        said: See :func:`libjpeg_warnings`.

    Returns:
        Words to follow the file's name; empty where nothing is wrong.
    """
    if said:
        return f'holds damaged data ({said[0]}): get or save it anew'
    if not content or not may_be_dark(content):
        return ''
    with libjpeg_warnings():
        stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype == np.uint8:
        return ''
    if stored.dtype != np.uint16:
        return f'holds {stored.dtype} values: save it with 8 bits per value, 0 to 255'
    bits = int(stored.max()).bit_length()
    if 0 < bits <= _BITS:
        return (
            f'holds 16 bits per value but uses {bits} (its highest value is {stored.max()}), which '
            'makes it nearly black: scale its values, or save it with 8 bits'
        )
    return ''


def may_be_dark(content: bytes) -> bool:
    """Whether a file may hold more than 8 bits per value, for all that its first bytes tell."""
    if content.startswith(b'\x89PNG'):
        return content[24:25] == b'\x10'
    has_bytes = content.startswith((b'\xff\xd8', b'BM', b'RIFF', b'GIF8'))
    return not has_bytes and content[4:8] != b'ftyp'


def orientation_of(content: bytes) -> int:
    """How an image is to be turned or mirrored by its EXIF data: 2 to 8, or 1 for not at all.

    Args:
        content: The file.
    """
    if content.startswith(b'\x89PNG') and b'eXIf' not in content:
        return 1  # else Pillow would decode it to look behind the pixels
    try:
        with Image.open(io.BytesIO(content)) as image:
            value = image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 1
    return value if value in range(2, 9) else 1


def decode_image(content: bytes) -> tuple[np.ndarray | None, str]:
    """Decode an image as mmcv does by default: turned upright, BGR, uint8 ``[H, W, 3]``.

    Args:
        content: The file.

    Returns:
        The image, None where OpenCV cannot decode it, and what :func:`find_flaw` says.

    Raises:
        cv2.error: If the header is absurd.
    """
    with libjpeg_warnings() as said:
        image = mmcv.imfrombytes(content) if content else None
    return image, find_flaw(content, said)
