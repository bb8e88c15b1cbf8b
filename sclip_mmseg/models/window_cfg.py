"""The settings of the sliding windows."""

from dataclasses import dataclass
from typing import Any

from ..utils.errors import InputError
from .windows import Size


@dataclass(frozen=True)
class WindowCfg:
    """How windows are cut from an image, in mmseg's terms where it has them.

    Args:
        mode: ``'slide'``, or ``'whole'`` for one pass over the whole image.
        crop_size: Height and width of a window in pixels; an integer stands for a square.
        stride: Step from window to window in pixels, at most ``crop_size``.
        pad_multiple: A side of an image below ``crop_size`` (in mode ``'whole'`` every side) is
            padded with the mean colour at both ends to a multiple of this number of pixels; the
            maps are cropped accordingly. 1 for no padding.
        min_size: Smallest side in pixels; smaller sides are padded likewise.
        window_batch: Largest number of windows encoded at a time; None for
            :func:`.window_batch.choose_window_batch`.

    Raises:
        InputError: If a value is out of its range.
    """

    mode: str = 'slide'
    crop_size: tuple[int, int] = (224, 224)
    stride: tuple[int, int] = (112, 112)
    pad_multiple: int = 1
    min_size: int = 1
    window_batch: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in ('slide', 'whole'):
            raise InputError(f"test_cfg.mode='{self.mode}' must be 'slide' or 'whole'")
        for name in ('crop_size', 'stride'):
            object.__setattr__(self, name, _pair(name, getattr(self, name)))
        if any(step > crop for step, crop in zip(self.stride, self.crop_size)):
            raise InputError(
                f'test_cfg.stride={self.stride} is larger than crop_size={self.crop_size}: no '
                'window would cover the pixels between them'
            )
        for name in ('window_batch', 'pad_multiple', 'min_size'):
            value = getattr(self, name)
            if not _is_positive_int(value) and not (name == 'window_batch' and value is None):
                raise InputError(f'test_cfg.{name}={value!r} must be a positive integer')

    def sizes(self, image_size: Size) -> tuple[Size, Size]:
        """Return size and stride of the windows of an image, height and width in pixels."""
        if self.mode == 'whole':
            return image_size, image_size
        return self.crop_size, self.stride


def _pair(name: str, value: Any) -> tuple[int, int]:
    pair = (value, value) if _is_positive_int(value) else value
    if (
        not isinstance(pair, (list, tuple))
        or len(pair) != 2
        or not all(map(_is_positive_int, pair))
    ):
        raise InputError(f'test_cfg.{name}={value!r} must be one or two positive integers (pixels)')
    return tuple(pair)


def _is_positive_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
