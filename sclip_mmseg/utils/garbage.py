"""Python's garbage collection, of which imports need none: what they make is there to stay."""

import contextlib
import gc
from typing import Iterator

FROZEN_BY_PYTHON = 1000  # objects at most: Python 3.12 freezes some hundreds itself


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage among what is imported meanwhile, neither then nor right after."""
    enabled, own = gc.isenabled(), gc.get_freeze_count() < FROZEN_BY_PYTHON
    gc.disable()
    try:
        yield
    finally:
        if own:  # or it would thaw what somebody else froze
            gc.freeze()
            gc.unfreeze()  # all is old now: the next collection need not look at it
        if enabled:
            gc.enable()
