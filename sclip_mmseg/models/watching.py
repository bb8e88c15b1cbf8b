"""How far a picture is, told while its windows are encoded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_listener: ContextVar[Callable[[int, int], None] | None] = ContextVar('listener', default=None)


@contextmanager
def watch(listener: Callable[[int, int], None]) -> Iterator[None]:
    """Let a function know, in this thread, how many windows are done, and of how many.

    Those that know already are told as before.
    """
    outer = _listener.get()

    def both(done: int, total: int) -> None:
        listener(done, total)
        if outer:
            outer(done, total)

    token = _listener.set(both)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(done: int, total: int) -> None:
    """Say that some windows are done."""
    if listener := _listener.get():
        listener(done, total)
