"""Images in memory: arrays, tensors and PIL images."""

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
#: Modes of PIL images with one conversion to RGB; those of PNG files.
_MODES = ('RGB', 'RGBA', 'L', 'LA', 'P', 'PA', '1')
_TAKEN = 'a path, a PIL image, a NumPy array [H, W, 3], or a tensor [3, H, W]'
_CHANNELS = 1, 3, 4
_LONGEST = 1000  # characters of a path


def to_bgr(image: Any, channels: Any = None) -> np.ndarray:
    """Convert an array, a tensor or a PIL image to the pixels that its file would be read as.

    Args:
        image: A PIL image; an array ``[H, W]``, ``[H, W, 1]``, ``[H, W, 3]`` or ``[H, W, 4]``
            (alpha is ignored); or a tensor with the channels first. Values are uint8, 0 to 255, or
            floats, 0 to 1.
        channels: Order of the channels of an array or tensor, ``'rgb'`` or ``'bgr'``; None for
            PIL images and grey images.

    Returns:
        BGR, uint8 ``[H, W, 3]``, contiguous.

    Raises:
        InputError: If the image is of another kind, shape, dtype or range.
    """
    if isinstance(image, Image.Image):
        check_no_channels(channels, 'a PIL image')
        return _pil_to_bgr(image)
    if isinstance(image, torch.Tensor):
        image = _to_array(image)
    elif not isinstance(image, np.ndarray) or isinstance(image, np.ma.MaskedArray):
        raise InputError(f'{type(image).__name__} is not an image: give {_TAKEN}')
    else:
        _check_shape(f'an array of {image.dtype}', image.shape, 2, 'transpose(1, 2, 0)')
    grey = image.ndim == 2 or image.shape[2] == 1
    stated = isinstance(channels, str) and channels in (RGB, BGR)
    if not stated and not (grey and channels is None):
        said = '' if channels is None else f', not {_name(channels)}'
        raise InputError(
            f"the order of the channels is missing: channels='{RGB}' (PIL, matplotlib, imageio, "
            f"torchvision) or channels='{BGR}' (OpenCV, apis.read_image){said}"
        )
    image = _to_bytes(image)
    if grey:
        return np.dstack([image] * 3)
    return np.ascontiguousarray(image[..., :3] if channels == BGR else image[..., 2::-1])


def check_path(path: str | Path, channels: Any) -> None:
    """Check that a text can be a path, and is not an encoded image.

    Raises:
        InputError: If it cannot be a path, or if an order of channels is given.
    """
    text = str(path)
    odd = len(text) > _LONGEST or text.startswith('data:') or not text.isprintable()
    if odd and find_path(path) is None:
        raise InputError(f'a text of {len(text)} characters is not a path: give {_TAKEN}')
    check_no_channels(channels, 'a file')


def check_no_channels(channels: Any, kind: str) -> None:
    """Refuse an order of channels for inputs that have their own.

    Raises:
        InputError: If an order is given.
    """
    if channels is not None:
        raise InputError(
            f'channels={_name(channels)} is for arrays and tensors: leave it out for {kind}'
        )


def _name(value: Any) -> str:
    """A short description of a value, without its content."""
    short = isinstance(value, (str, int)) and len(str(value)) <= 20
    return repr(value) if short else f'a value of type {type(value).__name__}'


def _to_array(image: torch.Tensor) -> np.ndarray:
    """Values of a tensor, with the channels last.

    Raises:
        InputError: If the tensor is not an image.
    """
    remedy = ''
    if image.layout != torch.strided or image.is_quantized or image.device.type == 'meta':
        remedy = 'a dense tensor'
    _check_shape(f'a tensor of {image.dtype}', image.shape, 0, 'permute(2, 0, 1)', remedy)
    values = image.detach()
    if values.dtype == torch.bfloat16:  # NumPy does not have it
        values = values.float()
    array = values.resolve_conj().resolve_neg().cpu().numpy()
    return array if array.ndim == 2 else array.transpose(1, 2, 0)


def _check_shape(what: str, size: Sequence[int], axis: int, turn: str, remedy: str = '') -> None:
    """Check the shape of an image.

    Args:
        what: Description of the array, with its dtype.
        size: Shape of the array.
        axis: Axis of the channels, 0 or 2.
        turn: Call that moves the channels there from the other end.
        remedy: Advice on another flaw; empty for none.

    Raises:
        InputError: If the shape is not that of an image, or there is another flaw.
    """
    shape = list(size)
    fits = len(shape) == 2 or (len(shape) == 3 and shape[axis] in _CHANNELS)
    if 0 in shape:
        remedy = remedy or 'it has no pixels'
    elif len(shape) == 4:
        remedy = remedy or 'one image of the batch at a time, batch[0]'
    elif len(shape) == 3 and not fits and shape[2 - axis] in _CHANNELS:
        remedy = remedy or f'with its channels {"last" if axis else "first"}, image.{turn}'
    if remedy or not fits:
        _refuse(f'{what}, {shape}', '[H, W, 3]' if axis else '[3, H, W]', remedy)


def _refuse(what: str, wanted: str, remedy: str) -> None:
    remedy = f' ({remedy})' if remedy else ''
    raise InputError(
        f'the image is {what}: expected {wanted}, uint8 from 0 to 255 or floats from 0 to 1{remedy}'
    )


def _to_bytes(image: np.ndarray) -> np.ndarray:
    """Convert values to uint8, 0 to 255.

    Raises:
        InputError: If dtype or range is not that of an image.
    """
    if image.dtype == np.uint8:
        _check_bright(int(image.max()), 1)
        return np.asarray(image)
    if image.dtype.kind != 'f':
        wide = image.dtype == np.uint16
        remedy = 'of values up to 65535, (image // 257).astype(np.uint8)' if wide else ''
        _refuse(f'an array of {image.dtype}, {list(image.shape)}', '[H, W, 3]', remedy)
    low, high = float(image.min()), float(image.max())
    if not 0 <= low <= high <= 1:  # also true for NaN
        finite = np.isfinite([low, high]).all()
        found = f'are from {low:.4g} to {high:.4g}' if finite else 'are not all finite'
        remedy = 'divide them by 255' if 0 <= low and 1 < high <= 255 else 'undo the normalisation'
        raise InputError(
            f'the values of the image {found}: expected floats from 0 to 1 ({remedy}), or uint8'
        )
    _check_bright(high, 1 / 255)
    return (np.asarray(image, np.float32) * 255).round().astype(np.uint8)


def _check_bright(high: float, dark: float) -> None:
    """Refuse images that were scaled twice, and masks.

    Raises:
        InputError: If the highest value, above 0, is at most that of the darkest grey.
    """
    if 0 < high <= dark:
        raise InputError(
            f'the image is nearly black, its highest value being {high:.4g}: give floats from 0 '
            'to 1, or uint8 from 0 to 255'
        )


def _pil_to_bgr(image: Image.Image) -> np.ndarray:
    if image.mode not in _MODES:
        raise InputError(
            f"the PIL image is of mode '{image.mode}', which can be converted to RGB in several "
            "ways: give image.convert('RGB'), with values scaled to 8 bits before"
        )
    if not (image.width and image.height):
        raise InputError(f'the PIL image has no pixels: it is {image.width}×{image.height}')
    try:
        upright = ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError) as error:  # its file is read only now
        raise InputError(f'the PIL image cannot be read: {error}') from error
    if upright.mode == 'P':  # its transparency may be bytes, about which Pillow warns
        upright = upright.convert('RGBA')
    return np.ascontiguousarray(np.asarray(upright.convert('RGB'))[..., ::-1])
