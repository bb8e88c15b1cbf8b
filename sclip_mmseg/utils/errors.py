"""The one exception for input that a user can put right, and its words."""

from collections.abc import Sequence


class InputError(ValueError):
    """A configuration value, a file or a folder given by the user cannot be used.

    The message is one sentence that names the value or path and says what to write instead.
    ``tools/test.py`` prints it without a traceback.
    """


class NotFetched(InputError):
    """The file that a name stands for is not here, and cannot be fetched."""


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
