"""Messages during the segmentation of an image: its progress, and how much it was shrunk."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from weakref import WeakSet

from ..models import CLIPSegmentor
from ..models.progress import Listener, watch_progress
from ..models.windows import window_spans
from ..utils.progress import Progress
from .sizes import WorkingSize, working_size

#: Part of the warning, by which it is recognised.
SHRUNK = ' is segmented at '
_MOST = 4  # an image may be shrunk so many times without a warning
_warned: WeakSet[CLIPSegmentor] = WeakSet()


def progress_reporter(name: str, say: Callable[[str], None]) -> Listener:
    """Make a listener that reports every few seconds how many windows of an image are done."""
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
def warn_if_shrunk(
    model: CLIPSegmentor, size: tuple[int, int], name: str, asked: WorkingSize | None = None
) -> Iterator[None]:
    """Warn, once per segmentor, if an image is shrunk a lot and no working size was chosen.

    Args:
        model: Segmentor from :func:`.segment.build_segmentor`.
        size: Height and width of the image.
        name: File name of the image.
        asked: Working size chosen for this image; None for the segmentor's.

    Warns:
        UserWarning: How large objects must be to be found, and how long the image's own size would
            take.
    """
    start, first = time.monotonic(), 0

    def listen(done: int, total: int, encoded: int) -> None:
        nonlocal start, first
        if model in _warned or encoded == first:
            return
        now = time.monotonic()
        if not first and done < total:  # the first windows take longer
            start, first = now, encoded
            return
        _warned.add(model)
        seconds = (now - start) / (encoded - first) * encoded / done  # some windows have no data
        warnings.warn(describe_shrinking(model, size, name, seconds), stacklevel=2)

    if asked is None and model not in _warned and is_shrunk(model, size):
        with watch_progress(listen):
            yield
    else:
        yield


def is_shrunk(model: CLIPSegmentor, size: tuple[int, int]) -> bool:
    """Whether an image is shrunk so much that a warning is due."""
    if getattr(model, 'arguments', {}).get('size') is not None:
        return False
    seen = min(working_size(model.cfg.test_pipeline, size))
    return min(size) > _MOST * seen > 0


def describe_shrinking(
    model: CLIPSegmentor, size: tuple[int, int], name: str, seconds: float
) -> str:
    """Describe what cannot be found in a shrunk image, and how long its own size would take.

    Args:
        model, size, name: See :func:`warn_if_shrunk`.
        seconds: Duration of one window.
    """
    short, seen = min(size), min(working_size(model.cfg.test_pipeline, size))
    count = count_windows(model, size)
    smallest = float(f'{short / seen * model.image_encoder.patch_size:.2g}')
    takes = timedelta(seconds=max(round(count * seconds), 1))
    side = 'rows' if size[0] == short else 'columns'
    return (
        f'{name}{SHRUNK}{seen} of its {short:,} {side}: '
        f'objects smaller than about {smallest:,.0f} pixels cannot be found; size native (--size '
        f'native) would take about {takes}'
    )


def count_windows(model: CLIPSegmentor, size: tuple[int, int]) -> int:
    """Number of windows of an image whose working size is this height and width."""
    crop, stride = model.windows.sizes(size)
    return math.prod(len(window_spans(*each)) for each in zip(size, crop, stride))
