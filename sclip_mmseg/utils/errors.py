"""The exception for input that a user can correct, and helpers for messages."""

import difflib
from collections.abc import Iterable, Sequence


class InputError(ValueError):
    """A configuration value, a file or a folder given by the user cannot be used.

    The message is one sentence that names the value or path and says what to write instead.
    ``tools/test.py`` prints it without a traceback.
    """


class NotFetched(InputError):
    """The file that a name stands for is not here, and cannot be fetched."""


class HalfOverflow(InputError):
    """An image has features beyond float16, in which they are computed."""


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


def shorten(text: str, length: int = 60) -> str:
    """A text of at most so many characters."""
    return text if len(text) <= length else f'{text[: length - 1]}…'


def first_line(error: BaseException | None) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return (str(error or '').strip().splitlines() or [type(error).__name__])[0]


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Say which of some names was probably meant.

    Args:
        name: What was written.
        known: What could be written.
        cutoff: Likeness from which on a name is proposed, 0 to 1.

    Returns:
        ``" (did you mean 'NAME'?)"``, to be put at an error's end; empty where none is alike.
    """
    by_lower = {word.lower(): word for word in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return f" (did you mean '{by_lower[found[0]]}'?)" if found else ''
