"""Pictures that a caller holds in memory."""

from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..utils.errors import InputError

#: Orders of the channels of an array.
RGB, BGR = 'rgb', 'bgr'
#: Modes of PIL images that PNG files have, which read alike.
_MODES = ('RGB', 'RGBA', 'L', 'LA', 'P', 'PA', '1')
_WANTED = 'uint8 [H, W, 3], 0 to 255'


def to_bgr(image: Any, channels: str | None) -> np.ndarray:
    """Bring an array or a PIL image to what a file of the same picture is read as.

    Args:
        image: An array, uint8 ``[H, W, 3]``, or a PIL image.
        channels: ``'rgb'`` or ``'bgr'``, the order of an array's channels; None for a PIL image.

    Returns:
        BGR, uint8 ``[H, W, 3]``, contiguous.

    Raises:
        InputError: If it is anything else.
    """
    if isinstance(image, Image.Image):
        if channels is not None:
            raise InputError(f"channels='{channels}' is for arrays: leave it out for a PIL image")
        return _pil_to_bgr(image)
    if not isinstance(image, np.ndarray):
        raise InputError(
            f'{type(image).__name__} is not taken as a picture: give a path, a PIL image, or a '
            f'NumPy array {_WANTED}'
        )
    check_image(image, 'the picture')
    if channels not in (RGB, BGR):
        said = '' if channels is None else f', not {channels!r}'
        raise InputError(
            f"say by channels='{RGB}' (PIL, matplotlib, imageio) or channels='{BGR}' (OpenCV, "
            f'apis.read_picture) in which order the channels of the array are{said}'
        )
    return np.ascontiguousarray(image if channels == BGR else image[..., ::-1])


def check_image(image: np.ndarray, name: str) -> None:
    """Check that an array is a picture, uint8 ``[H, W, 3]``.

    Raises:
        InputError: If it is not, with what to do.
    """
    shape = tuple(image.shape)
    if len(shape) == 3 and shape[2] == 3 and image.dtype == np.uint8 and image.size:
        return
    remedy = ''
    if not image.size:
        remedy = 'it has no pixel'
    elif len(shape) == 2 or shape[2:] == (1,):
        remedy = 'of a grey one, np.dstack([image] * 3)'
    elif len(shape) == 3 and shape[2] == 4:
        remedy = 'without its fourth channel, image[..., :3]'
    elif len(shape) == 3 and shape[0] in (1, 3, 4):
        remedy = 'with its channels last, image.transpose(1, 2, 0)'
    elif len(shape) == 4:
        remedy = 'one picture of the batch at a time'
    elif np.issubdtype(image.dtype, np.floating):
        remedy = 'of values up to 1, (image * 255).round().astype(np.uint8)'
    elif image.dtype == np.uint16:
        remedy = 'of values up to 65535, (image // 257).astype(np.uint8)'
    remedy = f' ({remedy})' if remedy else ''
    raise InputError(
        f'{name} is an array of {image.dtype}, {list(shape)}: expected {_WANTED}{remedy}'
    )


def _pil_to_bgr(image: Image.Image) -> np.ndarray:
    if image.mode not in _MODES:
        raise InputError(
            f"the PIL image is of mode '{image.mode}', for which there is more than one way to "
            "RGB: give image.convert('RGB'), its values scaled to 8 bits before"
        )
    if not (image.width and image.height):
        raise InputError(f'the PIL image has no pixel: it is {image.width}×{image.height}')
    try:
        upright = ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError) as error:  # its file is read only now
        raise InputError(f'the PIL image cannot be read: {error}') from error
    if upright.mode == 'P':  # where transparency may be bytes, of which Pillow warns
        upright = upright.convert('RGBA')
    return np.ascontiguousarray(np.asarray(upright.convert('RGB'))[..., ::-1])
