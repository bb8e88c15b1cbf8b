"""Python's garbage collection, which is a third of the start and end of a program otherwise.

PyTorch and what else is imported are some hundred thousand objects, of which none is garbage.
"""

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
