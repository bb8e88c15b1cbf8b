"""Pictures and videos as files."""

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
from ..utils.images import EXTRANEOUS, HEIF, decode_by_pillow, decode_image, reads_heif
from .inputs import OVERLAY, check_local

keep_old_names(
    __name__,
    VIDEOS='apis.inputs.VIDEOS',
    find_media='apis.inputs.find_media',
    is_video='apis.inputs.is_video',
    output_names='apis.inputs.output_names',
)

_LARGEST_JPEG = 65500  # pixels of a side


def check_picture(path: str | Path) -> None:
    """Check what can be known of a picture before its pixels are read.

    Raises:
        InputError: As :func:`read_picture` does.
    """
    _check_file(path, 'picture')
    if count_pixels(path) == math.inf:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise InputError(
            f'{path} has more than {limit} million pixels: make it smaller, or cut it into parts'
        )


def _check_file(path: str | Path, kind: str) -> None:
    check_local(path)
    if osp.isdir(path):
        try:
            os.scandir(path).close()
            reason = ''
        except OSError:
            reason = ' whose files cannot be read'
        raise InputError(f'{path} is a folder{reason}: name a {kind}')
    if not osp.lexists(path):
        raise InputError(f'{kind} {path} does not exist')
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
        raise InputError(f'{path} cannot be read as a {kind}: it is empty')


def read_picture(path: str | Path) -> np.ndarray:
    """Read a picture, turned upright, as BGR, uint8 ``[H, W, 3]``.

    Raises:
        InputError: If the file does not exist, cannot be read or is not a picture; if it is larger
            than Pillow opens (``2 * PIL.Image.MAX_IMAGE_PIXELS``, 179 million pixels); or if it is
            damaged, or holds other values than 8 bits, or 16 of which all are used.

    Warns:
        UserWarning: If a JPEG has bytes behind its end, as some whole and some damaged ones do.
    """
    check_picture(path)
    try:
        image, flaw = decode_image(Path(path).read_bytes())
    except cv2.error:  # such as a header that states an absurd size
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
        raise InputError(f'{path} cannot be read as a picture: it is damaged, or of another kind')
    return image


def write_overlay(stem: Path, image: np.ndarray) -> Path:
    """Write a drawn picture, RGB uint8 ``[H, W, 3]``, as ``{stem}_overlay.jpg``.

    Returns:
        The file, see :func:`overlay_end`.

    Raises:
        OSError: If it cannot be written.
    """
    path = Path(f'{stem}{overlay_end(image)}')
    # Whole colours, for names on plates; a PNG has no such choice.
    Image.fromarray(image).save(path, quality=92, subsampling=0)
    return path


def overlay_end(image: np.ndarray) -> str:
    """How the name of a drawn picture ends: one too large for JPEG becomes a PNG."""
    return f'{OVERLAY}.jpg' if max(image.shape) <= _LARGEST_JPEG else f'{OVERLAY}.png'


def count_pixels(path: str | Path) -> float:
    """Pixels of a picture by its header: it is not read.

    Returns:
        Infinity beyond what Pillow opens; 0 where it finds no header, as of what only OpenCV reads.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of half the limit
            with Image.open(path) as picture:
                return picture.width * picture.height
    except Image.DecompressionBombError:
        return math.inf
    except (OSError, SyntaxError, ValueError):
        return 0


def open_video(path: str | Path) -> mmcv.VideoReader:
    """Open a video.

    Raises:
        InputError: If the file does not exist, cannot be read, or has no size or frame rate.
    """
    _check_file(path, 'video')
    _check_name(path)
    video = mmcv.VideoReader(str(path), cache_capacity=1)
    if not video.opened or not video.width:
        raise InputError(f'{path} cannot be read as a video: it is damaged, or of another kind')
    if not (math.isfinite(video.fps) and video.fps > 0):
        raise InputError(f'{path} states no frame rate: convert it to a video that does')
    return video


def _check_name(path: str | Path) -> None:
    """Refuse names that OpenCV's videos cannot have."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f'{path} has a name that is not UTF-8: rename it, or its folder'
        ) from error


def read_frames(video: mmcv.VideoReader) -> Iterator[np.ndarray]:
    """The frames of a video that can be read, one after the other, whatever number it states.

    Yields:
        BGR, uint8 ``[H, W, 3]``; each of the first one's size.
    """
    size = None
    while (frame := video.vcap.read()[1]) is not None:
        size = size or frame.shape[1::-1]
        yield frame if frame.shape[1::-1] == size else cv2.resize(frame, size)


@contextmanager
def video_writer(
    path: Path, fps: float, size: tuple[int, int]
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a video, MPEG-4, of even sides: odd ones get a pixel more.

    Args:
        path: File that ends in ``.mp4``.
        fps: Frames per second.
        size: Height and width of the frames.

    Yields:
        What writes a frame, RGB, uint8 ``[H, W, 3]``.

    Raises:
        InputError: If it cannot be written.
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
