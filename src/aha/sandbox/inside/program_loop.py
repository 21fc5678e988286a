"""The program's event loop, which goes on whenever that of the tests waits: together they are like one.

Both keep their tasks, timers and primitives. What the tests await of the program is a task here; what the program
awaits of the tests is one there.
"""

from __future__ import annotations

import collections.abc
import contextlib
from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

PENDING = "a task of the program"
"""Begins the tuple that stands for a result which is not there yet."""
CANCELLED = "the tests' task is cancelled"
"""Stands for the exception of that in what a context manager is told."""
_SIMPLE = (type(None), bool, int, float, str, bytes)
"""Results that are told at once; others are asked for, since a container may be one that both sides have."""
Settled = tuple[
    int, str, Any
]  # the number of an awaitable of the tests; "value", "error" or "cancelled"; what of it


def is_pending(value: Any) -> bool:
    """Whether an answer says that there is none yet."""
    return type(value) is tuple and len(value) == 2 and value[0] == PENDING and type(value[1]) is int


class ProgramLoop:
    """The loop, the tasks in it that the tests await, and what in it waits for the tests."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[int, asyncio.Future[Any]] = {}
        self._finished: list[tuple[Any, ...]] = []
        self._asked: list[tuple[int, Any]] = []  # an awaitable of the tests; None: it is to be cancelled
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._numbers = 0
        self._blocks = False  # the tests have no loop that goes on meanwhile

    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, made when it is needed first."""
        import asyncio

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The loop is the running one, for functions that the tests call within theirs."""
        from asyncio import events

        before = events._get_running_loop()
        events._set_running_loop(before or self.loop())
        try:
            yield
        finally:
            events._set_running_loop(before)

    def start(self, awaitable: Awaitable[Any]) -> Any:
        """Begin an awaitable: its result if it never waits, as ``await`` gives it; else (``PENDING``, number)."""
        import asyncio

        loop = self.loop()
        if asyncio.isfuture(awaitable):
            return self._followed(awaitable)
        coroutine = _Begun(awaitable if asyncio.iscoroutine(awaitable) else _whole(awaitable))
        task = loop.create_task(coroutine)  # type: ignore[arg-type]
        with _current(loop, task):
            over, result = coroutine.begin()
        return result if over else self._followed(task)

    def wait(self, awaitable: Awaitable[Any]) -> Any:
        """What an awaitable gives, where the tests have no loop that goes on meanwhile."""
        self._blocks = True
        try:
            return self.loop().run_until_complete(_whole(awaitable))
        finally:
            self._blocks = False

    def awaited(self, value: Any) -> Any:
        """A result as a caller has it who awaits coroutines, and collects asynchronous generators in lists."""
        import inspect

        if inspect.isasyncgen(value):
            value = _collected(value)
        return self.wait(value) if inspect.isawaitable(value) else value

    def cancel(self, number: int) -> None:
        """Cancel a task that the tests await."""
        self._tasks[number].cancel()

    def result(self, number: int) -> Any:
        """What a finished task gave, unless it was told already; raises what it raised."""
        return self._tasks.pop(number).result()

    def turn(self, seconds: float | None, settled: list[Settled]) -> tuple[list[Any], list[Any], bool]:
        """Go on for a while, at most until something ended that the tests wait for, or the program waits for them.

        Gives finished tasks (number, whether cancelled, and a simple result in a list), what is asked of the
        tests, and whether more is to come.
        """
        from asyncio import events

        loop = self.loop()
        for each in settled:
            self._settle(*each)
        if events._get_running_loop() is not None:  # of the program's own, which waits for the tests
            return [], [], False
        at_once = seconds == 0 or self._finished or self._asked
        if not (at_once or self._has_work()) or (seconds == 0 and not self._has_work()):
            return self._news()
        timer = loop.call_soon(loop.stop) if at_once else None
        if seconds and timer is None:
            timer = loop.call_later(seconds, loop.stop)
        try:
            loop.run_forever()
        finally:
            if timer is not None:
                timer.cancel()
        return self._news()

    def _news(self) -> tuple[list[Any], list[Any], bool]:
        finished, self._finished = self._finished, []
        asked, self._asked = self._asked, []
        return finished, asked, self._has_work()

    def wait_for_tests(self, awaitable: Any) -> Any:
        """Wait in the loop for an awaitable of the tests (a generator, to be yielded from)."""
        from asyncio import CancelledError

        number = self._numbers = self._numbers + 1
        self._ask(number, awaitable)
        while True:
            self._waiting[number] = future = self.loop().create_future()
            try:
                return (yield from future)
            except CancelledError:
                if self._waiting.get(number) is not future:
                    raise
                self._ask(number, None)

    @property
    def turns(self) -> bool:
        """Whether what runs now does so within the loop."""
        from asyncio import events

        return not self._blocks and events._get_running_loop() is self._loop

    def end(self) -> None:
        """The tests' loop is closed: what still runs is cancelled, as ``asyncio.run`` does."""
        import asyncio

        loop = self._loop
        if loop is None or loop.is_running():
            return
        self._loop = None
        self._tasks, self._waiting, self._finished, self._asked = {}, {}, [], []
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    def _has_work(self) -> bool:
        import asyncio

        loop: Any = self.loop()
        return bool(loop._ready or loop._scheduled or asyncio.all_tasks(loop))

    def _ask(self, number: int, awaitable: Any) -> None:
        self._asked.append((number, awaitable))
        self.loop().stop()

    def _settle(self, number: int, kind: str, value: Any) -> None:
        future = self._waiting.pop(number)
        if future.done():
            return
        if kind == "value":
            future.set_result(value)
        elif kind == "error":
            future.set_exception(value)
        else:
            future.cancel()

    def _followed(self, future: Any) -> tuple[str, int]:
        number = self._numbers = self._numbers + 1
        self._tasks[number] = future
        future.add_done_callback(lambda _: self._finish(number, future))
        return PENDING, number

    def _finish(self, number: int, future: Any) -> None:
        ended: tuple[Any, ...] = (number, future.cancelled())
        if not future.cancelled() and future.exception() is None and type(future.result()) in _SIMPLE:
            ended = (*ended, [self._tasks.pop(number).result()])
        self._finished.append(ended)
        self.loop().stop()


async def _whole(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _collected(values: Any) -> list[Any]:
    return [each async for each in values]


@contextlib.contextmanager
def _current(loop: asyncio.AbstractEventLoop, task: Any) -> Iterator[None]:
    """Within a task, as far as it can tell."""
    from asyncio import events, tasks

    before = events._get_running_loop()
    events._set_running_loop(loop)
    outer = tasks.current_task(loop)
    if outer is not None:
        tasks._leave_task(loop, outer)
    tasks._enter_task(loop, task)
    try:
        yield
    finally:
        tasks._leave_task(loop, task)
        if outer is not None:
            tasks._enter_task(loop, outer)
        events._set_running_loop(before)


class _Begun(collections.abc.Coroutine[Any, Any, Any]):
    """A coroutine that has run up to where it waits first, before its task does: ``await`` does not give way to
    others until then."""

    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine
        self._first: tuple[Any, ...] = ()
        self._over: StopIteration | None = None

    def begin(self) -> tuple[bool, Any]:
        """Whether it is over, and its result. Raises what it raises."""
        try:
            self._first = (self._coroutine.send(None),)
        except StopIteration as end:
            self._over = StopIteration()
            return True, end.value
        except BaseException:
            self._over = StopIteration()
            raise
        return False, None

    def send(self, value: Any) -> Any:
        if self._over is not None:
            raise self._over
        if self._first:
            (first,), self._first = self._first, ()
            return first
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        self._first = ()
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        return self._coroutine.__await__()
