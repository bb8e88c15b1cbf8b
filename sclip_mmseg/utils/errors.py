"""The one exception for input that a user can put right."""


class InputError(ValueError):
    """A configuration value, a file or a folder given by the user cannot be used.

    The message is one sentence that names the value or path and says what to write instead.
    ``tools/test.py`` prints it without a traceback.
    """
