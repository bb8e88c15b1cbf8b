"""Progress of a child, read off its log."""

import re
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

_PROGRESS = re.compile(r'Iter\(test\) .*eta: .*')
_INTERVAL = 1.0  # seconds between two looks


@contextmanager
def show_progress(log: Path) -> Iterator[None]:
    """Print the lines of progress that are appended to a log meanwhile.

    Args:
        log: File that may not exist yet.
    """
    start = log.stat().st_size if log.exists() else 0
    ended = threading.Event()

    def follow():
        position, rest = start, ''
        while True:
            last = ended.wait(_INTERVAL)
            if log.exists():
                with open(log, 'rb') as file:
                    file.seek(position)
                    data = file.read()
                position += len(data)
                *lines, rest = (rest + data.decode(errors='replace')).split('\n')
                for found in filter(None, map(_PROGRESS.search, lines)):
                    print(f'  {found[0]}', flush=True)
            if last:
                return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
