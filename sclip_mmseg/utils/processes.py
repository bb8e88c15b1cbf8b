"""Parallel maps over processes, which end when their parent ends."""

import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from tqdm import tqdm

from .compat import without_training
from .errors import InputError

Item = TypeVar('Item')
Result = TypeVar('Result')


def map_in_processes(
    function: Callable,
    items: Sequence,
    nproc: int,
    chunksize: int = 1,
    after_each: Callable[[], None] = lambda: None,
    **progress: Any,
) -> list:
    """Call a function on all items in several processes, with a progress bar.

    Args:
        function: Function that can be pickled, like its arguments and results.
        items: Arguments of the calls.
        nproc: Number of processes; 1 to run in this process.
        chunksize: Number of items sent to a process at a time.
        after_each: Callback in this process after each result.
        **progress: Arguments of the progress bar.

    Returns:
        The results, in order.

    Raises:
        InputError: If a process crashes or is killed, for example when memory runs out.
    """
    if nproc == 1:
        results = []
        for item in tqdm(items, **progress):
            results.append(function(item))
            after_each()
        return results
    # As in the configs: the default depends on the Python version, and forkserver imports
    # everything again.
    context = multiprocessing.get_context('fork' if sys.platform == 'linux' else 'spawn')
    with ProcessPoolExecutor(nproc, context, initializer=start_process) as pool:
        results = []
        try:
            found = pool.map(function, items, chunksize=chunksize)
            for result in tqdm(found, total=len(items), **progress):
                results.append(result)
                after_each()
        except BrokenProcessPool as error:
            item = str(items[len(results)])[:300]
            raise InputError(
                f'a process was killed or crashed at {item} or soon after it: there is too little '
                'memory, or a file is damaged (run a single process to find out which)'
            ) from error
        return results


def map_unordered(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[tuple[Item, Result]]:
    """Call a function on all items in a pool, and yield each result as soon as it is available.

    Args:
        pool: Pool of processes.
        function: Function that can be pickled, like its arguments and results.
        items: Arguments of the calls.
        ahead: Maximum number of submitted items, at least one per process.

    Yields:
        Pairs of an item and its result.

    Raises:
        InputError: If a process crashes or is killed, for example when memory runs out.
    """
    rest = iter(items)
    running: dict[Future[Result], Item] = {}
    try:
        while True:
            for item in islice(rest, ahead - len(running)):
                running[pool.submit(function, item)] = item
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    except BrokenProcessPool as error:
        raise InputError(
            'a process was killed or crashed: there is too little memory for so many, or a file '
            'is damaged (run a single process to find out which)'
        ) from error
    finally:
        for future in running:
            future.cancel()


def start_process() -> None:
    """Initialise a worker process, which ends with its parent."""
    # All processes receive Ctrl-C; the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def call_pickled(content: bytes) -> None:
    """Call a pickled function in a spawned process, importing only what inference needs.

    Unpickling imports the function's modules.

    Args:
        content: Pickled tuple of the function and its arguments.
    """
    gc.disable()
    with without_training(networks=False):
        function, *arguments = pickle.loads(content)
    gc.freeze()
    gc.enable()
    function(*arguments)


def end_with_parent() -> None:
    """End this process when its parent ends; it would wait forever if the parent was killed."""

    def watch(parent: BaseProcess) -> None:
        parent.join()
        os._exit(1)

    if parent := multiprocessing.parent_process():
        threading.Thread(target=watch, args=[parent], daemon=True).start()
