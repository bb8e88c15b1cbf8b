"""What processes of a test do; by itself, since a spawned process imports the module."""

import sys
import time

from sclip_mmseg import evaluation
from sclip_mmseg.benchmark.worker import work


def work_asleep(*arguments):
    """Run a worker process that sleeps instead of evaluating."""
    evaluation.evaluate = _sleep
    work(*arguments)


def _sleep(**_):
    """Say so, and sleep until the process is ended."""
    print('asleep', file=sys.stderr, flush=True)
    time.sleep(300)
