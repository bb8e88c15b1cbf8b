"""Python's garbage collection, of which imports need none: what they make is there to stay."""

import contextlib
import gc
from typing import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage among what is imported meanwhile, as it is imported."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
