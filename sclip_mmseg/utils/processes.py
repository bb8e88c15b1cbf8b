"""Work shared by processes that end with the one that started them."""

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
        function: Can be pickled, as its arguments and results can.
        items: Its arguments.
        nproc: Number of processes; 1 for this one alone.
        chunksize: Number of items that a process gets at a time.
        after_each: Is called in this process after each result.
        **progress: Arguments of the bar.

    Returns:
        The results, in order.

    Raises:
        InputError: If a process is killed, such as for memory, or crashes.
    """
    if nproc == 1:
        results = []
        for item in tqdm(items, **progress):
            results.append(function(item))
            after_each()
        return results
    # As configs start workers: the default differs by Python, and forkserver imports all anew.
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
                f'a process was killed, or crashed, at {item} or soon after it: there is too '
                'little memory, or a file is damaged (one process alone ends at it)'
            ) from error
        return results


def map_unordered(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[tuple[Item, Result]]:
    """Call a function on all items in a pool, and give each result as soon as it is there.

    Args:
        pool: Its processes.
        function: Can be pickled, as its arguments and results can.
        items: Its arguments.
        ahead: Number of items that the pool has at a time, at least one per process.

    Yields:
        Items and their results.

    Raises:
        InputError: If a process is killed, such as for memory, or crashes.
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
            'a process was killed, or crashed: there is too little memory for so many, or a file '
            'is damaged (one process alone ends at it)'
        ) from error
    finally:
        for future in running:
            future.cancel()


def start_process() -> None:
    """Begin a process that works for another one, and ends with it."""
    # All processes get Ctrl-C. The first one starts no further item, and alone speaks of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def call_lightly(content: bytes) -> None:
    """Call a function of modules that are imported without what segmenting does not need.

    It is for processes that are spawned: unpickling is what imports there.

    Args:
        content: The function and its arguments, pickled.
    """
    gc.disable()
    with without_training(networks=False):
        function, *arguments = pickle.loads(content)
    gc.freeze()
    gc.enable()
    function(*arguments)


def end_with_parent() -> None:
    """Let this process end when its parent does, which would leave it waiting if it was killed."""

    def watch(parent: BaseProcess) -> None:
        parent.join()
        os._exit(1)

    if parent := multiprocessing.parent_process():
        threading.Thread(target=watch, args=[parent], daemon=True).start()
