"""Common behaviour of all programs of this package."""

import gc
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from .compat import without_training
from .errors import InputError, one_line
from .interrupt import exit_interrupted, interruptible
from .pipes import ends_with_its_reader

_LONG_FORM = warnings.formatwarning


@contextmanager
def as_program(interrupted: str = '', trains: bool = False) -> Iterator[None]:
    r"""Context in which the programs in ``tools/`` run.

    It ends the program with one line for a user error, a full disk, or Ctrl-C, and
    without a word once nobody reads its output. Any other error is logged and raised. A warning for
    users is one line. Characters that the terminal lacks, or that a file's name has in place of
    bytes, are printed as Python writes them, such as ``\\u6d77``.

    Args:
        interrupted: What to say of Ctrl-C where the interrupted work says nothing.
        trains: Whether mmengine is imported with what only training needs, which takes as long as
            all the rest.
    """
    with nullcontext() if trains else without_training():
        from .files import explain_full_disk  # the first that imports mmengine
    gc.freeze()  # looking for garbage among all that is imported takes a second at the end
    gc.enable()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')
    warnings.formatwarning = _brief
    try:
        with interruptible(), ends_with_its_reader():
            yield
    except InputError as error:
        sys.exit(f'error: {one_line(error)}')
    except KeyboardInterrupt as stop:
        exit_interrupted(str(stop) or interrupted)
    except Exception as error:
        if isinstance(error, OSError) and (place := explain_full_disk(error, [])):
            sys.exit(f'error: {place}: make room there')
        log_traceback()
        raise
    finally:
        warnings.formatwarning = _LONG_FORM


def _brief(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """A warning for users without the line of code that gave it."""
    if category is UserWarning:
        return f'warning: {" ".join(str(message).split())}\n'
    return _LONG_FORM(message, category, filename, lineno, line)


def log_traceback() -> None:
    """Write the exception being handled to the log file of the run, once there is one.

    On the terminal it appears by being raised.
    """
    from mmengine.logging import MMLogger

    message = 'The run was ended by this error:'
    for logger in MMLogger._instance_dict.values():  # asking for the current one may make one
        record = logger.makeRecord(logger.name, logging.ERROR, '', 0, message, (), sys.exc_info())
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handle(record)
