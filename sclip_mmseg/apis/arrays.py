"""Pictures that a caller holds in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from ..utils.errors import InputError
from ..utils.files import find_path

#: Orders of the channels of an array.
RGB, BGR = 'rgb', 'bgr'
#: Modes of PIL images that PNG files have, which read alike.
_MODES = ('RGB', 'RGBA', 'L', 'LA', 'P', 'PA', '1')
_TAKEN = 'a path, a PIL image, a NumPy array [H, W, 3], or a tensor [3, H, W]'
_CHANNELS = 1, 3, 4
_LONGEST = 1000  # characters of a path


def to_bgr(image: Any, channels: Any = None) -> np.ndarray:
    """Bring an array, a tensor or a PIL image to what a file of the same picture is read as.

    Args:
        image: A PIL image; an array ``[H, W]``, ``[H, W, 1]``, ``[H, W, 3]`` or, whose alpha is
            left out, ``[H, W, 4]``; or a tensor with the channels in front. uint8, 0 to 255; or
            floats, 0 to 1.
        channels: ``'rgb'`` or ``'bgr'``, the order of the channels of an array or tensor; None for
            a PIL image, and for grey ones.

    Returns:
        BGR, uint8 ``[H, W, 3]``, contiguous.

    Raises:
        InputError: If it is anything else.
    """
    if isinstance(image, Image.Image):
        check_no_channels(channels, 'a PIL image')
        return _pil_to_bgr(image)
    if isinstance(image, torch.Tensor):
        image = _to_array(image)
    elif not isinstance(image, np.ndarray) or isinstance(image, np.ma.MaskedArray):
        raise InputError(f'{type(image).__name__} is not taken as a picture: give {_TAKEN}')
    else:
        _check_shape(f'an array of {image.dtype}', image.shape, 2, 'transpose(1, 2, 0)')
    grey = image.ndim == 2 or image.shape[2] == 1
    stated = isinstance(channels, str) and channels in (RGB, BGR)
    if not stated and not (grey and channels is None):
        said = '' if channels is None else f', not {_name(channels)}'
        raise InputError(
            f"say by channels='{RGB}' (PIL, matplotlib, imageio, torchvision) or channels='{BGR}' "
            f'(OpenCV, apis.read_picture) in which order the channels are{said}'
        )
    image = _to_bytes(image)
    if grey:
        return np.dstack([image] * 3)
    return np.ascontiguousarray(image[..., :3] if channels == BGR else image[..., 2::-1])


def check_path(path: str | Path, channels: Any) -> None:
    """Check that a text may be a path, which an encoded picture is not.

    Raises:
        InputError: If it is not one, or if an order of channels is stated.
    """
    text = str(path)
    odd = len(text) > _LONGEST or text.startswith('data:') or not text.isprintable()
    if odd and find_path(path) is None:
        raise InputError(f'a text of {len(text)} characters is not a path: give {_TAKEN}')
    check_no_channels(channels, 'a file')


def check_no_channels(channels: Any, kind: str) -> None:
    """Refuse an order of channels for what states its own.

    Raises:
        InputError: If there is one.
    """
    if channels is not None:
        raise InputError(
            f'channels={_name(channels)} is for arrays and tensors: leave it out for {kind}'
        )


def _name(value: Any) -> str:
    """A value in few words, without what it holds."""
    short = isinstance(value, (str, int)) and len(str(value)) <= 20
    return repr(value) if short else f'a value of type {type(value).__name__}'


def _to_array(image: torch.Tensor) -> np.ndarray:
    """Values of a tensor, the channels behind.

    Raises:
        InputError: If it is not a picture.
    """
    remedy = ''
    if image.layout != torch.strided or image.is_quantized or image.device.type == 'meta':
        remedy = 'a dense one'
    _check_shape(f'a tensor of {image.dtype}', image.shape, 0, 'permute(2, 0, 1)', remedy)
    values = image.detach()
    if values.dtype == torch.bfloat16:  # which NumPy has not
        values = values.float()
    array = values.resolve_conj().resolve_neg().cpu().numpy()
    return array if array.ndim == 2 else array.transpose(1, 2, 0)


def _check_shape(what: str, size: Sequence[int], axis: int, turn: str, remedy: str = '') -> None:
    """Check the shape of a picture.

    Args:
        what: Is to be one, with its dtype.
        size: Its shape.
        axis: Axis of the channels, 0 or 2.
        turn: What brings them there from the other end.
        remedy: What is wrong besides; empty for nothing.

    Raises:
        InputError: If something is wrong.
    """
    shape = list(size)
    fits = len(shape) == 2 or (len(shape) == 3 and shape[axis] in _CHANNELS)
    if 0 in shape:
        remedy = remedy or 'it has no pixel'
    elif len(shape) == 4:
        remedy = remedy or 'one picture of the batch at a time, batch[0]'
    elif len(shape) == 3 and not fits and shape[2 - axis] in _CHANNELS:
        remedy = remedy or f'with its channels {"last" if axis else "first"}, image.{turn}'
    if remedy or not fits:
        _refuse(f'{what}, {shape}', '[H, W, 3]' if axis else '[3, H, W]', remedy)


def _refuse(what: str, wanted: str, remedy: str) -> None:
    remedy = f' ({remedy})' if remedy else ''
    raise InputError(
        f'the picture is {what}: expected {wanted}, uint8 from 0 to 255 or floats from 0 to 1'
        f'{remedy}'
    )


def _to_bytes(image: np.ndarray) -> np.ndarray:
    """Values from 0 to 255.

    Raises:
        InputError: If they cannot be those of a picture.
    """
    if image.dtype == np.uint8:
        _check_bright(int(image.max()), 1)
        return np.asarray(image)
    if image.dtype.kind != 'f':
        wide = image.dtype == np.uint16
        remedy = 'of values up to 65535, (image // 257).astype(np.uint8)' if wide else ''
        _refuse(f'an array of {image.dtype}, {list(image.shape)}', '[H, W, 3]', remedy)
    low, high = float(image.min()), float(image.max())
    if not 0 <= low <= high <= 1:  # NaN compares to nothing
        finite = np.isfinite([low, high]).all()
        found = f'are from {low:.4g} to {high:.4g}' if finite else 'are not all finite'
        remedy = 'divide them by 255' if 0 <= low and 1 < high <= 255 else 'undo what scaled them'
        raise InputError(
            f'the values of the picture {found}: expected floats from 0 to 1 ({remedy}), or uint8'
        )
    _check_bright(high, 1 / 255)
    return (np.asarray(image, np.float32) * 255).round().astype(np.uint8)


def _check_bright(high: float, dark: float) -> None:
    """Refuse what was scaled once too often, or is a mask.

    Raises:
        InputError: If the highest value, above 0, is at most that of the darkest grey.
    """
    if 0 < high <= dark:
        raise InputError(
            f'the picture is nearly black, its highest value being {high:.4g}: give floats from 0 '
            'to 1, or uint8 from 0 to 255'
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
