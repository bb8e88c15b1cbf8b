"""How long a question may take, and for whom."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch.nn.modules.module import register_module_forward_pre_hook

from ..utils.errors import InputError

SECONDS = 300  # of computing; downloads of weights come before
#: Set once the server ends.
ending = threading.Event()
_PATIENCE = 5  # seconds until a user who is not there has left: streams are opened anew


@contextmanager
def bounded(is_there: Callable[[], bool]) -> Iterator[None]:
    """Do work of this thread only for so long, and only while somebody waits for it.

    Networks are the bulk of it: each of their modules looks before it starts.

    Args:
        is_there: Whether somebody waits.

    Raises:
        InputError: If it takes too long, nobody waits, or the server ends.
    """
    thread, seen = threading.get_ident(), time.monotonic()
    end = float('inf')

    def look(*_: object) -> None:
        nonlocal seen, end
        now = time.monotonic()
        if threading.get_ident() != thread:
            return
        if ending.is_set():
            raise InputError('the server ends')
        end = min(end, now + SECONDS)
        if now > end:
            raise InputError(
                f'this takes more than {SECONDS} seconds: ask for fewer classes, or a smaller '
                'picture'
            )
        if is_there():
            seen = now
        elif now - seen > _PATIENCE:
            raise InputError('nobody waits for this any more')

    while not is_there() and time.monotonic() - seen < _PATIENCE:
        time.sleep(0.02)  # the page asks first, and listens then
    if not is_there():
        raise InputError('nobody waits for this')
    handle = register_module_forward_pre_hook(look)
    try:
        yield
    finally:
        handle.remove()
