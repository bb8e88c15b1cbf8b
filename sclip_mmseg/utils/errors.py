"""The one exception for input that a user can put right, and what becomes of the others."""

import logging
import os
import sys
from contextlib import contextmanager
from typing import Iterator, Sequence

from mmengine.logging import MMLogger

INTERRUPTED = 130  # the exit code by which shells know it


class InputError(ValueError):
    """A configuration value, a file or a folder given by the user cannot be used.

    The message is one sentence that names the value or path and says what to write instead.
    ``tools/test.py`` prints it without a traceback.
    """


def one_line(error: InputError) -> str:
    """The message of an error; of one that a worker of a data loader raised, too.

    PyTorch raises the latter anew, with the worker's traceback before the message.
    """
    message = str(error)
    if message.startswith('Caught '):
        message = message.rpartition('InputError: ')[2]
    return message.strip().splitlines()[0]


def join_first(texts: Sequence[str], limit: int = 3) -> str:
    """Join some texts for a message: the first ones, and how many more there are."""
    more = f' (and {len(texts) - limit} more)' if len(texts) > limit else ''
    return '; '.join(texts[:limit]) + more


@contextmanager
def errors_in_one_line(interrupted: str = '') -> Iterator[None]:
    """End the program with one line for what a user can mend, or for Ctrl-C.

    Any other error is logged and raised.

    Args:
        interrupted: What to say of Ctrl-C where the interrupted work says nothing.
    """
    try:
        yield
    except InputError as error:
        sys.exit(f'error: {one_line(error)}')
    except KeyboardInterrupt as stop:
        exit_interrupted(str(stop) or interrupted)
    except Exception:
        log_traceback()
        raise


def exit_interrupted(words: str) -> None:
    """End the program after Ctrl-C, with one line: what it was interrupted at, if that is known.

    Of several processes of an evaluation, only the first one speaks.
    """
    if os.environ.get('RANK', '0') == '0':
        print(f'interrupted: {words}' if words else 'interrupted', file=sys.stderr)
    sys.exit(INTERRUPTED)


def log_traceback() -> None:
    """Write the exception being handled to the log file of the run, once there is one.

    On the terminal it appears by being raised.
    """
    message = 'The run was ended by this error:'
    for logger in MMLogger._instance_dict.values():  # asking for the current one may make one
        record = logger.makeRecord(logger.name, logging.ERROR, '', 0, message, (), sys.exc_info())
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handle(record)
