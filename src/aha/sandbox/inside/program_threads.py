"""A thread for each thread of the other side, so that calls of several can wait for each other."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from typing import Any

_PATIENCE = 0.003  # seconds in which most calls are over


class _ThreadedCall:
    """A call in another thread, and what became of it."""

    def __init__(self, work: Callable[[], str]) -> None:
        self._work = work
        self._text = ""
        self._error: Exception | None = None
        self.over = threading.Event()

    def run(self) -> None:
        try:
            self._text = self._work()
        except Exception as error:
            self._error = error
        except BaseException:  # ends the program, as it does in its first thread
            os._exit(1)
        self.over.set()

    def result(self) -> str:
        """The text of the answer. Raises what was raised."""
        if self._error is not None:
            raise self._error
        return self._text


class ThreadsOfOthers:
    """Runs calls in threads; one that is not over soon is asked for later by its number."""

    def __init__(self, pending: Callable[[int], str]) -> None:
        self._pending = pending  # the text of an answer that says so
        self._queues: dict[int, queue.SimpleQueue[_ThreadedCall]] = {}
        self._calls: dict[int, _ThreadedCall] = {}
        self._count = 0

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._queues)

    def begin(self, thread: int, work: Callable[[], str]) -> str:
        """Run a call in what stands for a thread of the other side."""
        if thread not in self._queues:
            self._queues[thread] = queue.SimpleQueue()
            threading.Thread(target=_serve, args=(self._queues[thread],), daemon=True).start()
        self._count += 1
        self._calls[self._count] = call = _ThreadedCall(work)
        self._queues[thread].put(call)
        return self.result(self._count)

    def result(self, number: int) -> str:
        """The answer of a call, or that it is not over."""
        call: Any = self._calls[number]
        if not call.over.wait(_PATIENCE):
            return self._pending(number)
        del self._calls[number]
        return call.result()


def _serve(calls: queue.SimpleQueue[_ThreadedCall]) -> None:
    while True:
        calls.get().run()
