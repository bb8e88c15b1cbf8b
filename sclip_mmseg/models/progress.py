"""Progress within an image, reported while its windows are encoded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..old_names import keep_old_names

keep_old_names(__name__, tell='report_progress', watch='watch_progress')

#: Called with the number of windows done, of all windows, and of encoded windows.
Listener = Callable[[int, int, int], None]
_listener: ContextVar[Listener | None] = ContextVar('listener', default=None)


@contextmanager
def watch_progress(listener: Listener) -> Iterator[None]:
    """Call a function, in this thread, each time windows are done.

    Listeners of enclosing blocks are still called.
    """
    outer = _listener.get()

    def both(*counts: int) -> None:
        listener(*counts)
        if outer:
            outer(*counts)

    token = _listener.set(both)
    try:
        yield
    finally:
        _listener.reset(token)


def report_progress(done: int, total: int, encoded: int | None = None) -> None:
    """Report progress to the listeners.

    Args:
        done: Number of windows done.
        total: Number of all windows.
        encoded: Number of windows that were encoded; windows without data are not. None for all
            that are done.
    """
    if listener := _listener.get():
        listener(done, total, done if encoded is None else encoded)
