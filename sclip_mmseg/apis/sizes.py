"""The working size of images: to which they are resized before windows are cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmcv import rescale_size

from ..utils.errors import InputError

#: Pixels of the short side, ``'native'`` for the image's own size, or a factor, such as 0.5.
WorkingSize = int | float | str
NATIVE = 'native'
_LONGEST = 2048 / 336  # longest side in units of the short one, as published


def resize_steps(pipeline: Sequence[Mapping[str, Any]], size: WorkingSize | None) -> list[dict]:
    """Set the working size of a test pipeline.

    Args:
        pipeline: Steps of the pipeline, one of which is ``Resize``.
        size: See :data:`WorkingSize`; None for an unchanged pipeline. The longer side is limited to
            2048 / 336 times the short side, as published.

    Returns:
        Steps of the new pipeline.

    Raises:
        InputError: If the size is invalid, or the pipeline does not resize.
    """
    steps = [dict(step) for step in pipeline]
    if size is None:
        return steps
    resize = dict(type='Resize', keep_ratio=True, **_read_size(size))
    if not any(step['type'] == 'Resize' for step in steps):
        raise InputError(f"size='{size}' (--size) has no use: test_pipeline has no step Resize")
    return [resize if step['type'] == 'Resize' else step for step in steps]


def _read_size(size: WorkingSize) -> dict[str, Any]:
    """The size as arguments of mmcv's ``Resize``."""
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
        "image's own size, or a factor with a point, as in 0.5"
    )


def working_size(pipeline: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of an image once the pipeline has resized it.

    Args:
        pipeline: Steps of the test pipeline.
        size: Height and width of the image.

    Returns:
        Height and width; zeros where the image is too thin.
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
