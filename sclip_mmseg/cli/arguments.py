"""What the command lines have in common."""

import argparse
from typing import Any


class DictAction(argparse.Action):
    """mmengine's, which is imported once the option is given: help need not wait for it."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Parse ``key=value`` pairs."""
        from mmengine.config import DictAction

        DictAction(self.option_strings, self.dest)(parser, namespace, values, option_string)


def positive(text: str) -> int:
    """A whole number above 0."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f'{text} must be positive')
    return value
