"""Handling of Ctrl-C: a program ends with one line, also during imports.

Programs import this module first: it imports nothing that takes long.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # exit code of shells: 128 and the number of SIGINT


def end_at_once_if_interrupted() -> None:
    """Let Ctrl-C end the process instead of raising ``KeyboardInterrupt``.

    During imports of extension modules, the exception is lost or becomes an ``ImportError``.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise ``KeyboardInterrupt`` within this context."""
    ends = getattr(signal.getsignal(signal.SIGINT), '__name__', '') == _end_at_once.__name__
    if ends:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ends:
            signal.signal(signal.SIGINT, _end_at_once)


def exit_interrupted(message: str) -> None:
    """End the program after Ctrl-C with one line.

    If an evaluation has several processes, only the first one prints it.

    Args:
        message: What was interrupted; may be empty.
    """
    _report(message)
    sys.exit(INTERRUPTED)


def _end_at_once(*_: object) -> None:
    _report('')
    os._exit(INTERRUPTED)


def _report(message: str) -> None:
    if os.environ.get('RANK', '0') == '0':
        line = f'interrupted: {message}' if message else 'interrupted'
        print(line, file=sys.stderr, flush=True)
