"""Work shared by processes that end with the one that started them."""

import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Callable, List, Sequence

from tqdm import tqdm


def map_in_processes(
    function: Callable, items: Sequence, nproc: int, chunksize: int = 1, **progress: Any
) -> List:
    """Call a function on all items in several processes, with a progress bar.

    Args:
        function: Can be pickled, as its arguments and results can.
        items: Its arguments.
        nproc: Number of processes; 1 for this one alone.
        chunksize: Number of items that a process gets at a time.
        **progress: Arguments of the bar.

    Returns:
        The results, in order.
    """
    if nproc == 1:
        return [function(item) for item in tqdm(items, **progress)]
    # As configs start workers: the default differs by Python, and forkserver imports all anew.
    context = multiprocessing.get_context('fork' if sys.platform == 'linux' else 'spawn')
    with ProcessPoolExecutor(nproc, context, initializer=_start_process) as pool:
        results = pool.map(function, items, chunksize=chunksize)
        return list(tqdm(results, total=len(items), **progress))


def _start_process() -> None:
    # All processes get Ctrl-C. The first one starts no further item, and alone speaks of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()


def _end_with_parent() -> None:
    """Let this process end when its parent does, which would leave it waiting if it was killed."""
    parent = multiprocessing.parent_process()

    def watch():
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
