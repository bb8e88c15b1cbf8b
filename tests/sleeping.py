"""What processes of a test do; by itself, since a spawned process imports the module."""

import sys
import time


def sleep(**_):
    """Say so, and sleep until the process is ended."""
    print('asleep', file=sys.stderr, flush=True)
    time.sleep(300)
