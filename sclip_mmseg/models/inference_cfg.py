"""The segmentor's ``test_cfg``, checked."""

from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, Optional, Tuple

from ..utils.errors import InputError


@dataclass(frozen=True)
class InferenceCfg:
    """How windows are cut and classes decided; mmseg's words where it has them.

    Args:
        mode: ``'slide'``, or ``'whole'`` for one pass over the whole image.
        crop_size: Height and width of a window in pixels; an integer stands for a square.
        stride: Step from window to window in pixels, at most ``crop_size``.
        pad_multiple: Where a side of an image is below ``crop_size``, windows are padded with the
            mean colour on both ends of it to a multiple of so many pixels, and maps cut back. 1 for
            no padding.
        activation: What makes scores of a query map: ``'softmax'`` over the queries, ``'sigmoid'``,
            or None where it holds scores.
        logit_scale: Factor on the map before the activation.
        logit_bias: Added after that, before the sigmoid.
        background: Score of a background that has no query, put before the classes as class 0; None
            for no such class.
        prob_thd: Pixels whose best class score is below become class 0, which must be a background.
        area_thd: Share of the foreground that a class must exceed, see
            :func:`.decision.apply_area_rule`; None for no such rule.
        window_batch: Largest number of windows encoded at a time; None to choose it, see
            :func:`.window_batch.choose_window_batch`.
        seg_logits: Whether samples get their class scores too, as mmseg's do. ``tools/test.py``
            switches them off where nothing reads them: a map of 1000 classes and 8 megapixels takes
            32 GB.

    Raises:
        InputError: If a value is out of its range.
    """

    mode: str = 'slide'
    crop_size: Tuple[int, int] = (224, 224)
    stride: Tuple[int, int] = (112, 112)
    pad_multiple: int = 1
    activation: Optional[str] = 'softmax'
    logit_scale: float = 40.0
    logit_bias: float = 0.0
    background: Optional[float] = None
    prob_thd: float = 0.0
    area_thd: Optional[float] = None
    window_batch: Optional[int] = None
    seg_logits: bool = True

    def __post_init__(self):
        if self.mode not in ('slide', 'whole'):
            raise InputError(f"test_cfg.mode='{self.mode}' must be 'slide' or 'whole'")
        for name in ('crop_size', 'stride'):
            object.__setattr__(self, name, _pair(name, getattr(self, name)))
        if any(step > crop for step, crop in zip(self.stride, self.crop_size)):
            raise InputError(
                f'test_cfg.stride={self.stride} is larger than crop_size={self.crop_size}: pixels '
                'between the windows would never be seen'
            )
        if not _is_number(self.logit_scale) or self.logit_scale <= 0:
            raise InputError(f'test_cfg.logit_scale={self.logit_scale!r} must be positive')
        if self.activation not in ('softmax', 'sigmoid', None):
            raise InputError(
                f"test_cfg.activation={self.activation!r} must be 'softmax', 'sigmoid' or None"
            )
        if not _is_number(self.logit_bias) or (self.logit_bias and self.activation != 'sigmoid'):
            raise InputError(
                f'test_cfg.logit_bias={self.logit_bias!r} must be a number, and has a use for '
                "activation='sigmoid' only"
            )
        for name in ('prob_thd', 'area_thd', 'background'):
            value = getattr(self, name)
            if (value is not None or name == 'prob_thd') and not (
                _is_number(value) and 0 <= value <= 1
            ):
                raise InputError(f'test_cfg.{name}={value!r} must lie between 0 and 1')
        for name in ('window_batch', 'pad_multiple'):
            value = getattr(self, name)
            if not _is_positive_int(value) and not (name == 'window_batch' and value is None):
                raise InputError(f'test_cfg.{name}={value!r} must be a positive integer')

        if not isinstance(self.seg_logits, bool):
            raise InputError(f'test_cfg.seg_logits={self.seg_logits!r} must be True or False')

    @classmethod
    def from_dict(cls, test_cfg: Optional[dict]) -> 'InferenceCfg':
        """Build from a config's ``test_cfg``.

        Raises:
            InputError: If a key is unknown or a value is out of its range.
        """
        test_cfg = dict(test_cfg or {})
        known = [field.name for field in fields(cls)]
        for key in test_cfg:
            if key not in known:
                raise InputError(f"test_cfg has no key '{key}': use {', '.join(known)}")
        return cls(**test_cfg)

    @property
    def needs_background(self) -> bool:
        """Whether class 0 of the queries is treated as a background."""
        return self.background is None and (self.prob_thd > 0 or self.area_thd is not None)


def _pair(name: str, value: Any) -> Tuple[int, int]:
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


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
