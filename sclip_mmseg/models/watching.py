"""How far an image is, told while its windows are encoded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: Is told how many windows are done, of how many, and how many of them were encoded.
Listener = Callable[[int, int, int], None]
_listener: ContextVar[Listener | None] = ContextVar('listener', default=None)


@contextmanager
def watch(listener: Listener) -> Iterator[None]:
    """Let a function know, in this thread, how many windows are done.

    Those that know already are told as before.
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


def tell(done: int, total: int, encoded: int | None = None) -> None:
    """Say how many windows are done and of how many; those without data were not encoded."""
    if listener := _listener.get():
        listener(done, total, done if encoded is None else encoded)
