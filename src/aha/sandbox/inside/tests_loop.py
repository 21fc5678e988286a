"""The tests' event loop, which gives the program's a turn whenever it waits: together they are like one.

What the tests await of the program runs there as a task (``program_loop``); what the program awaits of the tests
runs here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .program_loop import is_pending

if TYPE_CHECKING:
    import asyncio

_SLICE = 0.02  # seconds of a turn where another thread of the tests may want to ask meanwhile
Ask = Callable[..., Any]


class TestsLoop:
    """Between the loops. ``cancellations``: the tests expect that something of the program's is cancelled."""

    __test__ = False

    def __init__(self, ask: Ask, cancellations: bool) -> None:
        self._ask = ask
        self._cancellations = cancellations
        self._waiting: dict[int, asyncio.Future[tuple[bool, Any]]] = {}
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._settled: list[tuple[int, str, Any]] = []
        self.busy = False  # the program's loop may have something to do

    async def awaited(self, operation: str, *arguments: Any) -> Any:
        """The result of an operation of the program's that may wait."""
        import asyncio

        value = self._ask("@start", operation, *arguments)
        if not is_pending(value):
            return value
        number, asked_to_stop = value[1], False
        self._waiting[number] = future = asyncio.get_running_loop().create_future()
        while not future.done():
            try:
                await asyncio.shield(future)
            except asyncio.CancelledError:
                if future.done():
                    raise
                asked_to_stop = True
                self._ask("@cancel", number)
        del self._waiting[number]
        cancelled, results = future.result()
        if cancelled and (asked_to_stop or self._cancellations):
            raise asyncio.CancelledError
        if cancelled:
            raise RuntimeError("what was awaited has been cancelled")
        return results[0] if results else self._ask("@result", number)

    def turn(self, seconds: float | None) -> None:
        """Let the program's loop go on for so long (None: until it has news), and take its news over."""
        if threading.active_count() > 1:
            seconds = _SLICE if seconds is None else min(seconds, _SLICE)
        settled, self._settled = self._settled, []
        finished, asked, self.busy = self._ask("@turn", seconds, settled)
        for number, cancelled, *results in finished:
            if (future := self._waiting.get(number)) is not None and not future.done():
                future.set_result((bool(cancelled), results[0] if results else []))
        for number, awaitable in asked:
            self._begin(number, awaitable)

    def _begin(self, number: int, awaitable: Any) -> None:
        import asyncio

        if awaitable is None:
            if number in self._tasks:
                self._tasks[number].cancel()
            return
        task = asyncio.get_running_loop().create_task(_whole(awaitable))
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._settle(number, task))

    def _settle(self, number: int, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(number, None)
        self.busy = True
        if task.cancelled():
            self._settled.append((number, "cancelled", None))
        elif (error := task.exception()) is not None:
            self._settled.append((number, "error", error))
        else:
            self._settled.append((number, "value", task.result()))

    def end(self) -> None:
        """The loop is closed, and the program's with it."""
        self._waiting, self._tasks, self._settled, self.busy = {}, {}, [], False
        with suppress(Exception):
            self._ask("@end")


async def _whole(awaitable: Any) -> Any:
    return await awaitable


class _Selector:
    """A loop's selector: to wait is to give the program's loop a turn."""

    def __init__(self, real: Any, between: TestsLoop) -> None:
        self._real, self._between = real, between

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def select(self, timeout: float | None = None) -> Any:
        if not self._between.busy:
            return self._real.select(timeout)
        events = self._real.select(0)
        self._between.turn(0 if events or (timeout is not None and timeout <= 0) else timeout)
        return events or self._real.select(0)


def join_loops(between: TestsLoop) -> None:
    """Every loop that the tests make from now on gives the program's a turn."""
    from asyncio import selector_events

    kind: Any = selector_events.BaseSelectorEventLoop
    real_init, real_close = kind.__init__, kind.close

    def init(self: Any, selector: Any = None) -> None:
        import selectors

        real_init(self, _Selector(selector or selectors.DefaultSelector(), between))

    def close(self: Any) -> None:
        if not self.is_closed() and not self.is_running():
            between.end()
        real_close(self)

    kind.__init__, kind.close = init, close
