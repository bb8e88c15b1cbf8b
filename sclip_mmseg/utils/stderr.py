"""Standard error, including what C libraries and other programs print there."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO


@contextmanager
def redirect_stderr(file: BinaryIO) -> Iterator[None]:
    """Redirect the standard error of this process, and of programs that it starts, to a file.

    Without a standard error, nothing is done.
    """
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (AttributeError, OSError, ValueError):  # no standard error
        yield
        return
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
