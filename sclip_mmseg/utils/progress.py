"""How far some work is, said every few seconds."""

import time
from collections.abc import Callable
from datetime import timedelta

INTERVAL = 10.0  # seconds


class Progress:
    """Tells when to speak of some work, by time and not by its steps, and how fast it is.

    Args:
        total: Number of items of the work; 0 where it is not known.
        unit: What they are, in the plural.
        interval: Seconds within which something is to be said, if the steps are that short.
        clock: What tells the time in seconds.
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
        self._spoken = self._last = self._start = clock()

    def is_due(self, done: int) -> bool:
        """Note how many items are done, and say whether to speak, as after the next it is too late.

        Args:
            done: Number of items, more than at the last call.
        """
        now = self._clock()
        step, self._last, self._done = now - self._last, now, done
        if not self._first:  # which waited for files and memory: it tells nothing of the others
            self._first, self._start = done, now
        if now - self._spoken + step < self.interval:
            return False
        self._spoken = now
        return True

    @property
    def rate(self) -> float | None:
        """Items per second since the first step; None before the second."""
        seconds = self._last - self._start
        return (self._done - self._first) / seconds if seconds > 0 else None

    def __str__(self) -> str:
        """As in ``12 of 1449 images, 2.1 images/s, eta 0:11:24``."""
        of = f' of {self.total}' if self.total else ''
        parts = [f'{self._done}{of} {self.unit}']
        if self.rate:
            parts.append(f'{self.rate:.{1 if self.rate >= 1 else 3}f} {self.unit}/s')
            if self.total:
                left = max(self.total - self._done, 0) / self.rate
                parts.append(f'eta {timedelta(seconds=round(left))}')
        return ', '.join(parts)
