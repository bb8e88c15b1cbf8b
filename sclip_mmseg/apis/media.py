"""Pictures and videos as files."""

import math
import os.path as osp
import re
import warnings
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Sequence, Tuple, Union

import cv2
import mmcv
import numpy as np
from PIL import Image

from ..utils.errors import InputError

PICTURES = {'.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff'}
VIDEOS = {'.mp4', '.m4v', '.avi', '.mov', '.mkv', '.webm', '.mpg', '.mpeg', '.gif'}
#: Ends of the names of results, which are not inputs in turn.
OVERLAY, LABELS = '_overlay', '_labels'
_LARGEST_JPEG = 65500  # pixels of a side
_JPEG = dict(quality=92, subsampling=0)  # whole colours, for names on plates
_ADDRESS = re.compile(r'(https?|ftps?):/', re.IGNORECASE)  # one slash is left by pathlib


def is_video(path: Union[str, Path]) -> bool:
    """Whether a file is a video, by its suffix."""
    return Path(path).suffix.lower() in VIDEOS


def find_media(paths: Sequence[Path]) -> List[Path]:
    """Files as given, and the pictures and videos below folders, in order.

    Raises:
        InputError: If a path does not exist, or a folder holds none.
    """
    found = []
    for path in paths:
        check_local(path)
        if not path.exists():
            raise InputError(f'picture {path} does not exist')
        inside = [path]
        if path.is_dir():
            inside = [file for file in sorted(path.rglob('*')) if _is_input(file, path)]
        if not inside:
            raise InputError(f'no picture or video below {path}')
        found += inside
    return found


def check_local(path: Union[str, Path]) -> None:
    """Check that a path is no address of the internet.

    Raises:
        InputError: If it is.
    """
    if _ADDRESS.match(str(path)):
        raise InputError(f'{path} is an address: download it, and give the file')


def _is_input(file: Path, root: Path) -> bool:
    if file.suffix.lower() not in PICTURES | VIDEOS or not file.is_file():
        return False
    frames = any(part.endswith(LABELS) for part in file.relative_to(root).parts[:-1])
    return not frames and not file.stem.endswith((OVERLAY, LABELS))


def output_names(files: Sequence[Path], inputs: Sequence[Path]) -> List[Path]:
    """Where each file's results go below the output folder, laid out as the inputs are.

    Args:
        files: From :func:`find_media`.
        inputs: The files and folders given to it.

    Returns:
        Relative paths, without suffix where that tells them apart.

    Raises:
        InputError: If two files would write the same results.
    """
    roots = [next((r for r in inputs if r.is_dir() and r in f.parents), f.parent) for f in files]
    whole = [path.relative_to(root) for path, root in zip(files, roots)]
    names, previous = [name.with_suffix('') for name in whole], []
    while names != previous:  # a suffix may in turn make a name that another file has
        previous, counts = names, Counter(names)
        names = [long if counts[name] > 1 else name for name, long in zip(names, whole)]
    for path, name in zip(files, names):
        if counts[name] > 1:
            raise InputError(f'{path} and another file are both called {name}: rename one')
    return names


def read_picture(path: Union[str, Path]) -> np.ndarray:
    """Read a picture, turned upright, as BGR, uint8 ``[H, W, 3]``.

    Raises:
        InputError: If the file does not exist or is no picture, or is larger than Pillow opens
            (``2 * PIL.Image.MAX_IMAGE_PIXELS``, 179 million pixels).
    """
    check_local(path)
    if not osp.isfile(path):
        raise InputError(f'picture {path} does not exist')
    if count_pixels(path) == math.inf:
        limit = 2 * Image.MAX_IMAGE_PIXELS // 10**6
        raise InputError(
            f'{path} has more than {limit} million pixels: make it smaller, or cut it into parts'
        )
    image = None
    if osp.getsize(path):
        try:
            image = mmcv.imread(str(path))
        except cv2.error:  # such as a header that states an absurd size
            pass
    if image is None:
        raise InputError(f'{path} cannot be read as a picture')
    return image


def write_overlay(stem: Path, image: np.ndarray) -> Path:
    """Write a drawn picture, RGB uint8 ``[H, W, 3]``, as ``{stem}_overlay.jpg``.

    A picture too large for JPEG becomes a PNG.

    Returns:
        The file.

    Raises:
        OSError: If it cannot be written.
    """
    suffix = '.jpg' if max(image.shape) <= _LARGEST_JPEG else '.png'
    path = Path(f'{stem}{OVERLAY}{suffix}')
    Image.fromarray(image).save(path, **_JPEG if suffix == '.jpg' else {})
    return path


def count_pixels(path: Union[str, Path]) -> float:
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


def open_video(path: Union[str, Path]) -> mmcv.VideoReader:
    """Open a video, whose ``read()`` gives frames as :func:`read_picture` does, None at the end.

    Raises:
        InputError: If the file does not exist, or has no frame or frame rate.
    """
    check_local(path)
    if not osp.isfile(path):
        raise InputError(f'video {path} does not exist')
    video = mmcv.VideoReader(str(path), cache_capacity=1)
    if not video.opened or not video.width:
        raise InputError(f'{path} cannot be read as a video')
    if not (math.isfinite(video.fps) and video.fps > 0):
        raise InputError(f'{path} states no frame rate: convert it to a video that does')
    return video


@contextmanager
def video_writer(path: Path, fps: float, size: Tuple[int, int]) -> Iterator[cv2.VideoWriter]:
    """Write a video, MPEG-4.

    Args:
        path: File that ends in ``.mp4``.
        fps: Frames per second.
        size: Height and width of the frames, which are BGR, uint8 ``[H, W, 3]``.

    Raises:
        InputError: If it cannot be written.
    """
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), fps, size[::-1])
    try:
        if not writer.isOpened():
            raise InputError(f'{path} cannot be written as a video')
        yield writer
    finally:
        writer.release()
