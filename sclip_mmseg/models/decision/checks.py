"""Checks of the values of ``model.test_cfg``."""

from numbers import Real
from typing import Any

from ...utils.errors import InputError


def check_number(key: str, value: Any, positive: bool = False, share: bool = False) -> None:
    """Check that a value is a number within its range.

    Args:
        key: Key of ``model.test_cfg``.
        value: Value of the key.
        positive: Whether the value must be above 0.
        share: Whether the value must lie between 0 and 1.

    Raises:
        InputError: If it is not such a number.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if positive and not (number and value > 0):
        raise InputError(f'test_cfg.{key}={value!r} must be positive')
    if share and not (number and 0 <= value <= 1):
        raise InputError(f'test_cfg.{key}={value!r} must lie between 0 and 1')
    if not number:
        raise InputError(f'test_cfg.{key}={value!r} must be a number')
