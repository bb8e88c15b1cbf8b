"""Progress messages every few seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta

INTERVAL = 10.0  # seconds
_listener: ContextVar['Callable[[Progress], None] | None'] = ContextVar('_listener', default=None)


@contextmanager
def listening(listener: 'Callable[[Progress], None]') -> Iterator[None]:
    """Call a function at the start and after each step of any :class:`Progress` of this thread."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class Progress:
    """Decides when to report progress, by time rather than by steps, and measures the rate.

    Args:
        total: Number of items; 0 if unknown.
        unit: Name of the items, in the plural.
        interval: Maximum seconds between reports, if the steps are short enough.
        clock: Function that returns the time in seconds.
    """

    def __init__(
        self,
        total: int,
        unit: str = 'images',
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.total, self.unit, self.interval = total, unit, interval
        self._clock = clock
        self._done = self._first = 0
        self._reported = self._last = self._start = clock()
        self._notify()

    def is_due(self, done: int) -> bool:
        """Update the number of finished items, and say whether to report now.

        A report is due if the next step would end after the interval.

        Args:
            done: Number of finished items, larger than at the last call.
        """
        now = self._clock()
        step, self._last, self._done = now - self._last, now, done
        if not self._first:  # the first step includes start-up, so the rate leaves it out
            self._first, self._start = done, now
        self._notify()
        if now - self._reported + step < self.interval:
            return False
        self._reported = now
        return True

    def _notify(self) -> None:
        if listener := _listener.get():
            listener(self)

    @property
    def share(self) -> float:
        """Share of the items that are finished, 0 to 1."""
        return self._done / self.total if self.total else 0.0

    @property
    def rate(self) -> float | None:
        """Items per second since the first step; None before the second step."""
        seconds = self._last - self._start
        return (self._done - self._first) / seconds if seconds > 0 else None

    def __str__(self) -> str:
        """Format as ``12 of 1449 images, 2.1 images/s, eta 0:11:24``."""
        of = f' of {self.total}' if self.total else ''
        parts = [f'{self._done}{of} {self.unit}']
        if self.rate:
            parts.append(f'{self.rate:.{1 if self.rate >= 1 else 3}f} {self.unit}/s')
            if self.total:
                left = max(self.total - self._done, 0) / self.rate
                parts.append(f'eta {timedelta(seconds=round(left))}')
        return ', '.join(parts)
