"""Messages while a picture is segmented: how far it is, and that little of it is seen."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from weakref import WeakSet

from ..models import CLIPSegmentor
from ..models.watching import Listener, watch
from ..models.windows import window_spans
from ..utils.progress import Progress
from .sizes import WorkingSize, working_size

#: Words of the warning.
SHRUNK = ' is looked at with '
_MOST = 4  # times that a picture is shrunk without a word
_warned: WeakSet[CLIPSegmentor] = WeakSet()


def say_progress(name: str, say: Callable[[str], None]) -> Listener:
    """Says every few seconds how many of a picture's windows are done."""
    progress = Progress(0, 'windows')
    before = 0

    def listen(done: int, total: int, encoded: int) -> None:
        nonlocal progress, before
        if progress.total != total or done < before:  # another pass
            progress = Progress(total, 'windows')
        before = done
        if progress.is_due(done) and done < total:
            say(f'{name}: {progress}')

    return listen


@contextmanager
def told_of(
    model: CLIPSegmentor, size: tuple[int, int], name: str, asked: WorkingSize | None = None
) -> Iterator[None]:
    """Warn, once per segmentor, where a picture is shrunk much and no size was asked for.

    Args:
        model: From :func:`.segment.build_segmentor`.
        size: Height and width of the picture.
        name: Its file.
        asked: The size that was asked for now; None for the segmentor's.

    Warns:
        UserWarning: Of what cannot be found, and how long the picture's own size would take.
    """
    start, first = time.monotonic(), 0

    def listen(done: int, total: int, encoded: int) -> None:
        nonlocal start, first
        if model in _warned or encoded == first:
            return
        now = time.monotonic()
        if not first and done < total:  # the first ones take longer
            start, first = now, encoded
            return
        _warned.add(model)
        seconds = (now - start) / (encoded - first) * encoded / done  # of those without data too
        warnings.warn(describe_shrinking(model, size, name, seconds), stacklevel=2)

    if asked is None and model not in _warned and is_shrunk(model, size):
        with watch(listen):
            yield
    else:
        yield


def is_shrunk(model: CLIPSegmentor, size: tuple[int, int]) -> bool:
    """Whether a picture is shrunk so much that it is to be said."""
    if getattr(model, 'arguments', {}).get('size') is not None:
        return False
    seen = min(working_size(model.cfg.test_pipeline, size))
    return min(size) > _MOST * seen > 0


def describe_shrinking(
    model: CLIPSegmentor, size: tuple[int, int], name: str, seconds: float
) -> str:
    """Say what cannot be found in a picture that is shrunk, and how long its own size would take.

    Args:
        model, size, name: See :func:`told_of`.
        seconds: That a window takes.
    """
    short, seen = min(size), min(working_size(model.cfg.test_pipeline, size))
    count = count_windows(model, size)
    smallest = float(f'{short / seen * model.image_encoder.patch_size:.2g}')
    takes = timedelta(seconds=max(round(count * seconds), 1))
    side = 'rows' if size[0] == short else 'columns'
    return (
        f'{name}{SHRUNK}{seen} of {short:,} {side}: '
        f'what is smaller than about {smallest:,.0f} pixels cannot be found; size native (--size '
        f'native) would take about {takes}'
    )


def count_windows(model: CLIPSegmentor, size: tuple[int, int]) -> int:
    """Number of windows of a picture of a height and width, once it is resized to it."""
    crop, stride = model.windows.sizes(size)
    return math.prod(len(window_spans(*each)) for each in zip(size, crop, stride))
