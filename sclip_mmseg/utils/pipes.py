"""Silent end of a program once the reader of its output has gone, as in ``sclip … | head``."""

import logging
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

CLOSED = 141  # exit code of shells: 128 and the number of SIGPIPE

_print_error = logging.Handler.handleError


@contextmanager
def exit_on_broken_pipe() -> Iterator[None]:
    """End the program once standard output or error is a pipe without a reader.

    The default action of SIGPIPE would do so too, but also for connections to servers and workers.
    """
    logging.Handler.handleError = _raise_or_print  # type: ignore[method-assign] # in all handlers
    try:
        try:
            yield
        except SystemExit:
            _flush()
            raise
        _flush()
    except BrokenPipeError:
        closed = [stream for stream in (sys.stdout, sys.stderr) if _is_closed(stream)]
        if not closed:
            raise
        with open(os.devnull, 'wb') as nowhere:
            for stream in closed:  # else Python reports the failed flush at exit
                os.dup2(nowhere.fileno(), stream.fileno())
        sys.exit(CLOSED)
    finally:
        logging.Handler.handleError = _print_error  # type: ignore[method-assign]


def _raise_or_print(self: logging.Handler, record: logging.LogRecord) -> None:
    """Raise ``BrokenPipeError``, for which logging would print a traceback per message."""
    if isinstance(error := sys.exc_info()[1], BrokenPipeError):
        raise error
    _print_error(self, record)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _is_closed(stream: TextIO) -> bool:
    try:
        descriptor = stream.fileno()
    except (AttributeError, ValueError):  # None, or not a file
        return False
    if not hasattr(select, 'poll'):  # Windows
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))
