"""Common behaviour of all command-line programs of this package."""

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
from .pipes import exit_on_broken_pipe

_LONG_FORM = warnings.formatwarning


@contextmanager
def as_program(interrupted: str = '', trains: bool = False) -> Iterator[None]:
    r"""Context in which all programs run.

    User errors, a full disk and Ctrl-C end the program with one line, a closed pipe ends it
    silently. Other errors are logged and raised. A ``UserWarning`` is printed as one line.
    Characters that the terminal's encoding lacks, and undecodable bytes in file names, are printed
    as Python escapes, such as ``\\u6d77``.

    Args:
        interrupted: Message after Ctrl-C, unless the interrupted code has its own.
        trains: Whether to import mmengine with the modules that only training needs, which takes
            as long as everything else.
    """
    with nullcontext() if trains else without_training():
        from .files import explain_full_disk  # the first module that imports mmengine
    gc.freeze()  # a garbage collection of all imported modules takes a second at exit
    gc.enable()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')
    warnings.formatwarning = _brief
    try:
        with interruptible(), exit_on_broken_pipe():
            yield
    except InputError as error:
        sys.exit(f'error: {one_line(error)}')
    except KeyboardInterrupt as stop:
        exit_interrupted(str(stop) or interrupted)
    except Exception as error:
        if isinstance(error, OSError) and (place := explain_full_disk(error, [])):
            sys.exit(f'error: {place}: free disk space there')
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
    """Format a ``UserWarning`` without the line of code that caused it."""
    if category is UserWarning:
        return f'warning: {" ".join(str(message).split())}\n'
    return _LONG_FORM(message, category, filename, lineno, line)


def log_traceback() -> None:
    """Write the current exception to the run's log file, if there is one.

    On the terminal it appears because it is raised.
    """
    from mmengine.logging import MMLogger

    message = 'The run was ended by this error:'
    for logger in MMLogger._instance_dict.values():  # get_current_instance() may create one
        record = logger.makeRecord(logger.name, logging.ERROR, '', 0, message, (), sys.exc_info())
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handle(record)
