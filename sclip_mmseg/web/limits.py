"""Limits on the time of a request without progress, and cancellation once its user has left."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch.nn.modules.module import register_module_forward_pre_hook

from ..models.progress import watch_progress
from ..utils.errors import InputError
from ..utils.progress import Progress, listening

SECONDS = 300  # computing time without progress, not counting downloads of weights
#: Set when the server shuts down.
ending = threading.Event()
_PATIENCE = 5  # seconds without a stream until a user counts as gone: streams are reopened


@contextmanager
def bounded(
    is_connected: Callable[[], bool], report: Callable[[Progress], None] = lambda progress: None
) -> Iterator[None]:
    """Stop the work of this thread if it is stuck or nobody waits for the answer.

    Progress, of windows or of any :class:`..utils.progress.Progress`, starts the time anew.

    Most of the time is spent in networks, so the check runs before each of their modules.

    Args:
        is_connected: Function that returns whether somebody waits.
        report: Function that is called with each progress, except that of windows.

    Raises:
        InputError: If it is stuck, nobody waits, or the server shuts down.
    """
    thread, seen = threading.get_ident(), time.monotonic()
    end = float('inf')

    def look(*_: object) -> None:
        nonlocal seen, end
        now = time.monotonic()
        if threading.get_ident() != thread:
            return
        if ending.is_set():
            raise InputError('the server is shutting down')
        end = min(end, now + SECONDS)
        if now > end:
            raise InputError(
                f'this made no progress for {SECONDS} seconds: use fewer classes, or a smaller '
                'image'
            )
        if is_connected():
            seen = now
        elif now - seen > _PATIENCE:
            raise InputError('nobody waits for this any more')

    def restart(*_: object) -> None:
        nonlocal end
        end = float('inf')

    def moved(progress: Progress) -> None:
        restart()
        report(progress)

    while not is_connected() and time.monotonic() - seen < _PATIENCE:
        time.sleep(0.02)  # the page sends a request first, and opens its stream afterwards
    if not is_connected():
        raise InputError('nobody waits for this')
    handle = register_module_forward_pre_hook(look)
    try:
        with watch_progress(restart), listening(moved):
            yield
    finally:
        handle.remove()
