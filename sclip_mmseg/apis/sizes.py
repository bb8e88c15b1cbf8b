"""The size at which a picture is looked at, in a user's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmcv import rescale_size

from ..utils.errors import InputError

#: Pixels of the short side, ``'native'`` for the picture's own size, or a factor, such as 0.5.
WorkingSize = int | float | str
NATIVE = 'native'
_LONGEST = 2048 / 336  # of the longer side, in short sides, as published


def resize_steps(pipeline: Sequence[Mapping[str, Any]], size: WorkingSize | None) -> list[dict]:
    """A test pipeline that looks at pictures at another size.

    Args:
        pipeline: Its steps, one of which resizes.
        size: See :data:`WorkingSize`; None for the pipeline as it is. As published, the longer side
            is at most 2048 pixels where the short one is 336, and in proportion.

    Raises:
        InputError: If there is no such size.
    """
    steps = [dict(step) for step in pipeline]
    if size is None:
        return steps
    resize = dict(type='Resize', keep_ratio=True, **_read_size(size))
    if not any(step['type'] == 'Resize' for step in steps):
        raise InputError(f"size='{size}' (--size) has no use: test_pipeline has no step Resize")
    return [resize if step['type'] == 'Resize' else step for step in steps]


def _read_size(size: WorkingSize) -> dict[str, Any]:
    """The size in the words of mmcv's ``Resize``."""
    text = str(size).strip()
    if text.lower() == NATIVE:
        return dict(scale_factor=1.0)
    try:
        if text.isdecimal() and int(text) > 0:
            return dict(scale=(round(int(text) * _LONGEST), int(text)))
        if 0 < (factor := float(text)) < float('inf'):
            return dict(scale_factor=factor)
    except ValueError:
        pass
    raise InputError(
        f"size='{size}' (--size) must be the pixels of the short side, as in 336, 'native' for the "
        "picture's own size, or a factor with a point, as in 0.5"
    )


def working_size(pipeline: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> tuple[int, int]:
    """Height and width at which a picture of a height and width is looked at.

    Returns:
        Zeros where it is too thin.
    """
    height, width = size
    for step in pipeline:
        if step['type'] != 'Resize':
            continue
        scale = step.get('scale')
        if scale is None:
            scale = rescale_size((width, height), step['scale_factor'])
        elif isinstance(scale, int):
            scale = (scale, scale)
        scale = tuple(scale)
        width, height = rescale_size((width, height), scale) if step.get('keep_ratio') else scale
    return height, width
