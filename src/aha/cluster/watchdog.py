"""Slow or hung: a worker whose counter moves is slow; one whose counter stands still for too long is hung."""

from __future__ import annotations


class Watchdog:
    """The counter of one worker over time; times in seconds, of any clock that only goes forward."""

    def __init__(self) -> None:
        self.limit, self.count, self.since = 0.0, -1, 0.0

    def begin(self, now: float, limit: float) -> None:
        """A new piece of work, whose counter may stand still for ``limit`` seconds."""
        self.limit, self.count, self.since = limit, -1, now

    def seen(self, count: int, now: float) -> None:
        """The counter as the worker tells it."""
        if count != self.count:
            self.count, self.since = count, now

    def unseen(self, seconds: float) -> None:
        """For so long nobody looked: that time is not held against the worker."""
        self.since += seconds

    def hung(self, now: float) -> bool:
        """Whether the counter has stood still for longer than the limit."""
        return now - self.since > self.limit
