"""Exceptions for user errors, and helpers for their messages."""

import difflib
from collections.abc import Iterable, Sequence


class InputError(ValueError):
    """A config value, file or folder given by the user cannot be used.

    The message is one sentence that names the value or path and says what to write instead.
    Command-line programs print it without a traceback.
    """


class NotFetched(InputError):
    """A file given by name is neither available locally nor can it be downloaded."""


class HalfOverflow(InputError):
    """Features of an image exceed the range of float16, in which they are computed."""


def one_line(error: InputError) -> str:
    """The message of an error, including one raised in a data loader's worker.

    PyTorch raises the latter again with the worker's traceback in front of the message.
    """
    message = str(error)
    if message.startswith('Caught '):
        message = message.rpartition('InputError: ')[2]
    return message.strip().splitlines()[0]


def join_first(texts: Sequence[str], limit: int = 3) -> str:
    """Join the first texts for a message, and say how many more there are."""
    more = f' (and {len(texts) - limit} more)' if len(texts) > limit else ''
    return '; '.join(texts[:limit]) + more


def shorten(text: str, length: int = 60) -> str:
    """Shorten a text to at most ``length`` characters."""
    return text if len(text) <= length else f'{text[: length - 1]}…'


def first_line(error: BaseException | None) -> str:
    """The first line of an error's message, or its class name if the message is empty."""
    return (str(error or '').strip().splitlines() or [type(error).__name__])[0]


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Suggest the most similar of the known names.

    Args:
        name: The misspelt name.
        known: Valid names.
        cutoff: Minimum similarity of a suggestion, 0 to 1.

    Returns:
        ``" (did you mean 'NAME'?)"``, to be appended to an error message; empty if none is similar.
    """
    by_lower = {word.lower(): word for word in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return f" (did you mean '{by_lower[found[0]]}'?)" if found else ''
