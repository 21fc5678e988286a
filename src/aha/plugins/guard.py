"""Someone else's code, called so that its faults are named with file and line, and a time limit holds."""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import os
import signal
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from aha.types import AhaError

SECONDS = 60.0
"""How long one call may take, unless the part says otherwise."""


_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"


class CallFailed(Exception):
    """A call of someone else's code that gave nothing; its text says what and where."""


class _Late(BaseException):
    """Raised within a call that takes too long. No Exception: code that catches all of them does not stop it."""


def location(error: BaseException, file: str) -> str:
    """An error in words, with the line of ``file`` (where it is "", of the innermost frame outside of this package)
    that it came from."""
    kind = "" if isinstance(error, AhaError) else f"{type(error).__name__}: "
    said = f"{kind}{error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{Path(error.filename or file).name}:{error.lineno}: SyntaxError: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    others = [] if file else [f for f in frames if not f.filename.startswith(_PACKAGE)]
    own = [f for f in frames if f.filename == file] or others
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}: {said}" if own else said


def call(
    function: Callable[..., Any], *args: Any, seconds: float = SECONDS, file: str = "", **kwargs: Any
) -> Any:
    """What ``function`` returns, awaited where it is a coroutine. Raises CallFailed with file and line where it raises
    or takes longer than ``seconds``; an interrupt from the keyboard goes through."""
    try:
        result = _limited(lambda: function(*args, **kwargs), seconds)
        return await_all([result], seconds)[0] if inspect.isawaitable(result) else result
    except CallFailed:
        raise
    except (_Late, TimeoutError) as error:
        where = location(error, file).rpartition(": ")[0] or Path(file).name
        raise CallFailed(f"{where}: took longer than {round(seconds, 1):g} seconds") from error
    except (Exception, SystemExit) as error:
        raise CallFailed(location(error, file)) from error


def await_all(waiting: Sequence[Awaitable[Any]], seconds: float = SECONDS) -> list[Any]:
    """The results of coroutines that run together, on a loop of their own: a notebook's may be running already.

    Raises the first one's exception, and TimeoutError after ``seconds``."""

    async def gather() -> list[Any]:
        return list(await asyncio.wait_for(asyncio.gather(*waiting), seconds))

    return asyncio.run_coroutine_threadsafe(gather(), _loop()).result(seconds + 5)


@lru_cache(maxsize=1)
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="aha own code", daemon=True).start()
    return loop


def _limited(run: Callable[[], Any], seconds: float) -> Any:
    on_main = threading.current_thread() is threading.main_thread()
    if on_main and hasattr(signal, "pthread_kill") and hasattr(signal, "SIGVTALRM"):
        with _alarm(seconds):
            return run()
    return _in_thread(run, seconds)


_deadlines: list[float] = []  # of the calls that the main thread is in, by time.monotonic


def _on_signal(number: int, frame: Any) -> None:
    if any(time.monotonic() >= deadline for deadline in _deadlines):
        raise _Late


@lru_cache(maxsize=1)
def _listen() -> None:
    """The handler stays: a signal that comes late must not meet the default, which ends the process."""
    signal.signal(signal.SIGVTALRM, _on_signal)


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """On the main thread: a signal of our own, since own code may use SIGALRM itself (math-verify does)."""
    _listen()
    main = threading.main_thread().ident or 0
    _deadlines.append(time.monotonic() + seconds)
    timer = threading.Timer(seconds + 0.01, signal.pthread_kill, (main, signal.SIGVTALRM))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        _deadlines.pop()
        timer.cancel()


def _in_thread(run: Callable[[], Any], seconds: float) -> Any:
    """On another thread: one of its own, which is asked to end when it is late, and left behind."""
    outcome: list[tuple[bool, Any]] = []

    def work() -> None:
        try:
            outcome.append((True, run()))
        except BaseException as error:
            outcome.append((False, error))

    thread = threading.Thread(target=work, name="aha own code", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Late))
        raise _Late
    fine, result = outcome[0]
    if not fine:
        raise result
    return result


def number(value: Any) -> float | None:
    """A finite or infinite number that someone else's code gave, of whatever library; None for what is no number."""
    try:
        return float(value.detach() if hasattr(value, "detach") else value)
    except Exception:  # a tensor of several numbers, an integer too large, an object whose own code fails
        return None


def numbers(values: Any) -> list[Any]:
    """The members of a list, array, tensor or generator that someone else's code gave. Raises CallFailed for what has
    no order of its own (a mapping, a set), and for a text."""
    if isinstance(values, (str, bytes, Mapping, Set)) or not isinstance(values, Iterable):
        raise CallFailed(f"gave {type(values).__name__}, no list")
    return list(values)
