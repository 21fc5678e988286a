"""On the tests' side: waiting in which the program goes on.

A thread of the program may wait for what the tests lent it (an event, a lock, a queue) while the tests wait for what
that thread does. Its calls of such objects are made here in a thread of its own; and whenever the tests' first thread
waits or sleeps, the program is asked to rest for a moment, in which its threads can reach the tests.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

_SHORTEST, _LONGEST = 0.001, 0.02  # seconds between two looks whether a wait is over
_MOMENT = 0.0001
_real_sleep, _now = time.sleep, time.monotonic
_real_lock = threading.Lock
Rest = Callable[[float], None]


class Waits:
    """``rest`` lets the program go on for so many seconds."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._of_thread = threading.local()

    def start(self, real: Callable[[threading.Thread], None], thread: threading.Thread) -> None:
        """Start a thread of the tests: until it has begun is a moment, in which the program is asked nothing."""
        self._of_thread.starts = True
        try:
            real(thread)
        finally:
            self._of_thread.starts = False

    def pause(self, seconds: float) -> None:
        """A part of a wait of this thread: the program's threads go on in it, where they can."""
        if getattr(self._of_thread, "starts", False):
            _real_sleep(_MOMENT)
        elif threading.current_thread() is threading.main_thread():
            self._rest(seconds)
        else:
            _real_sleep(seconds)

    def sleep(self, seconds: float) -> None:
        """Stands for ``time.sleep``."""
        end = _now() + seconds
        if seconds <= 0:
            _real_sleep(seconds)
        while (left := end - _now()) > 0:
            self.pause(min(left, _LONGEST))

    def until(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until something is so; False if the time is over first."""
        end = None if timeout is None or timeout < 0 else _now() + timeout
        step = _SHORTEST
        while not done():
            left = _LONGEST if end is None else end - _now()
            if left <= 0:
                return False
            self.pause(min(step, left))
            step = min(2 * step, _LONGEST)
        return True


def let_program_go_on(waits: Waits) -> None:
    """From now on the tests' sleeps, and the locks that they and Python's library make, wait in this way."""

    class lock:
        """Stands for a lock of ``_thread``."""

        def __init__(self) -> None:
            self._lock = _real_lock()
            self.release, self.locked = self._lock.release, self._lock.locked

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            if self._lock.acquire(False):
                return True
            return bool(blocking) and waits.until(lambda: self._lock.acquire(False), timeout)

        def __enter__(self) -> bool:
            return self.acquire()

        def __exit__(self, *_: Any) -> None:
            self._lock.release()

        def _at_fork_reinit(self) -> None:
            self._lock._at_fork_reinit()  # type: ignore[attr-defined]

    lock.__module__, lock.__qualname__ = "_thread", "lock"
    time.sleep = waits.sleep
    library: Any = threading
    library.Lock = library._allocate_lock = lock
    library.RLock = library._PyRLock
    queues: Any = queue
    queues.SimpleQueue = queues._PySimpleQueue
    real_join, real_start = threading.Thread.join, threading.Thread.start

    def join(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread is not threading.current_thread() and thread._started.is_set():  # type: ignore[attr-defined]
            waits.until(lambda: not thread.is_alive(), None if timeout is None else max(timeout, 0))
        real_join(thread, None if timeout is None else 0)

    threading.Thread.join = join  # type: ignore[method-assign]
    threading.Thread.start = lambda thread: waits.start(real_start, thread)  # type: ignore[method-assign]
