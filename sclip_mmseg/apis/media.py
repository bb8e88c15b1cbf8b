"""Images and videos as files."""

import math
import os
import os.path as osp
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import mmcv
import numpy as np
from PIL import Image

from ..old_names import keep_old_names
from ..utils.errors import InputError
from ..utils.images import (
    EXTRANEOUS,
    HEIF,
    decode_by_pillow,
    decode_image,
    most_pixels,
    reads_heif,
)
from .inputs import OVERLAY, check_local

keep_old_names(
    __name__,
    PICTURES='utils.images.IMAGE_SUFFIXES',
    VIDEOS='apis.inputs.VIDEOS',
    check_picture='check_image',
    find_media='apis.inputs.find_media',
    is_video='apis.inputs.is_video',
    output_names='apis.inputs.output_names',
    read_picture='read_image',
)

_LARGEST_JPEG = 65500  # pixels of a side


def check_image(path: str | Path) -> None:
    """Check what can be checked of an image without reading its pixels.

    Raises:
        InputError: As :func:`read_image` does.
    """
    _check_file(path, 'an image')
    if count_pixels(path) == math.inf:
        raise InputError(
            f'{path} has more than {most_pixels() // 10**6} million pixels: make it smaller, or '
            'cut it into parts'
        )


def _check_file(path: str | Path, kind: str) -> None:
    check_local(path)
    if osp.isdir(path):
        try:
            os.scandir(path).close()
            reason = ''
        except OSError:
            reason = ' whose files cannot be read'
        raise InputError(f'{path} is a folder{reason}: name {kind}')
    if not osp.lexists(path):
        raise InputError(f'{kind.split()[1]} {path} does not exist')
    if not osp.exists(path):
        raise InputError(f'{path} is a link to {osp.realpath(path)}, which does not exist')
    if not osp.isfile(path):
        raise InputError(f'{path} is neither a file nor a folder')
    try:
        with open(path, 'rb') as file:
            empty = not file.read(1)
    except OSError as error:
        raise InputError(f'{path} cannot be read ({error.strerror})') from error
    if empty:
        raise InputError(f'{path} cannot be read as {kind}: it is empty')


def read_image(path: str | Path) -> np.ndarray:
    """Read an image, turned upright, as BGR, uint8 ``[H, W, 3]``.

    Raises:
        InputError: If the file does not exist, cannot be read or is not an image; if it is larger
            than Pillow opens (``2 * PIL.Image.MAX_IMAGE_PIXELS``, 179 million pixels); if it is
            damaged; or if its values are neither of 8 bits, nor of 16 of which all are used.

    Warns:
        UserWarning: If a JPEG has bytes after its end, which both intact and damaged files may
            have.
    """
    check_image(path)
    try:
        image, flaw = decode_image(Path(path).read_bytes())
    except cv2.error:  # e.g. the header states an absurd size
        image, flaw = None, ''
    except OSError as error:
        raise InputError(f'{path} cannot be read ({error.strerror})') from error
    if image is not None and EXTRANEOUS.search(flaw):
        warnings.warn(f'{path} {flaw}', stacklevel=2)
    elif flaw:
        raise InputError(f'{path} {flaw}')
    if image is None:
        image = decode_by_pillow(Path(path))
    if image is None and Path(path).suffix.lower() in HEIF and not reads_heif():
        raise InputError(f'{path} needs pillow-heif to be read: pip install pillow-heif')
    if image is None:
        raise InputError(f'{path} cannot be read as an image: it is damaged, or of another kind')
    return image


def write_overlay(stem: Path, image: np.ndarray) -> Path:
    """Write an overlay, RGB uint8 ``[H, W, 3]``, as ``{stem}_overlay.jpg``.

    Returns:
        Path of the file, see :func:`overlay_end`.

    Raises:
        OSError: If the file cannot be written.
    """
    path = Path(f'{stem}{overlay_end(image)}')
    # No chroma subsampling: it would blur the class names on their plates. PNG ignores this.
    Image.fromarray(image).save(path, quality=92, subsampling=0)
    return path


def overlay_end(image: np.ndarray) -> str:
    """The end of an overlay's file name: an overlay too large for JPEG becomes a PNG."""
    return f'{OVERLAY}.jpg' if max(image.shape) <= _LARGEST_JPEG else f'{OVERLAY}.png'


def count_pixels(path: str | Path) -> float:
    """Number of pixels of an image, from its header.

    Returns:
        Infinity if Pillow would refuse the size; 0 if Pillow finds no header, as in formats that
        only OpenCV reads.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # Pillow warns above half its limit
            with Image.open(path) as image:
                return image.width * image.height
    except Image.DecompressionBombError:
        return math.inf
    except (OSError, SyntaxError, ValueError):
        return 0


def open_video(path: str | Path) -> mmcv.VideoReader:
    """Open a video.

    Raises:
        InputError: If the file does not exist, cannot be read, or states no size or frame rate.
    """
    _check_file(path, 'a video')
    _check_name(path)
    video = mmcv.VideoReader(str(path), cache_capacity=1)
    if not video.opened or not video.width:
        raise InputError(f'{path} cannot be read as a video: it is damaged, or of another kind')
    if not (math.isfinite(video.fps) and video.fps > 0):
        raise InputError(f'{path} states no frame rate: convert it to a video that does')
    return video


def _check_name(path: str | Path) -> None:
    """Refuse names that OpenCV cannot open a video by."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f'{path} has a name that is not UTF-8: rename it, or its folder'
        ) from error


def read_frames(video: mmcv.VideoReader) -> Iterator[np.ndarray]:
    """Read the frames of a video one by one, regardless of the number that its header states.

    Yields:
        BGR, uint8 ``[H, W, 3]``, resized to the size of the first frame where they differ.
    """
    size = None
    while (frame := video.vcap.read()[1]) is not None:
        size = size or frame.shape[1::-1]
        yield frame if frame.shape[1::-1] == size else cv2.resize(frame, size)


@contextmanager
def video_writer(
    path: Path, fps: float, size: tuple[int, int]
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write an MPEG-4 video. Odd sides get one more pixel, since the codec needs even ones.

    Args:
        path: The file, which ends in ``.mp4``.
        fps: Frames per second.
        size: Height and width of the frames.

    Yields:
        A function that writes one frame, RGB, uint8 ``[H, W, 3]``.

    Raises:
        InputError: If the video cannot be written.
    """
    _check_name(path)
    height, width = size
    even = width + width % 2, height + height % 2
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), fps, even)

    def write(frame: np.ndarray) -> None:
        frame = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        odd = 0, height % 2, 0, width % 2
        writer.write(cv2.copyMakeBorder(frame, *odd, cv2.BORDER_REPLICATE))

    try:
        if not writer.isOpened():
            raise InputError(
                f'{path} cannot be written as a video of {width}×{height} pixels and {fps:g} '
                'frames per second'
            )
        yield write
    finally:
        writer.release()
