"""Ctrl-C ends a program with one line, also while it is importing.

Programs import this file first: it imports nothing that takes long.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # the exit code by which shells know it


def end_at_once_if_interrupted() -> None:
    """From here on Ctrl-C ends the process, where it would raise ``KeyboardInterrupt``.

    That is lost in extension modules that are being imported, or becomes an ``ImportError``.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise ``KeyboardInterrupt`` again during some work."""
    ends = getattr(signal.getsignal(signal.SIGINT), '__name__', '') == _end_at_once.__name__
    if ends:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ends:
            signal.signal(signal.SIGINT, _end_at_once)


def exit_interrupted(words: str) -> None:
    """End the program after Ctrl-C, with one line: what it was interrupted at, if that is known.

    Of several processes of an evaluation, only the first one speaks.
    """
    _speak(words)
    sys.exit(INTERRUPTED)


def _end_at_once(*_: object) -> None:
    _speak('')
    os._exit(INTERRUPTED)


def _speak(words: str) -> None:
    if os.environ.get('RANK', '0') == '0':
        print(f'interrupted: {words}' if words else 'interrupted', file=sys.stderr, flush=True)
