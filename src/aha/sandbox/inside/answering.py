"""The candidate's side of a conversation: calls its functions and handles its objects as requests say."""

from __future__ import annotations

import builtins
import copy
import io
import operator
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from . import channel, questions, wire
from .aliases import Shown
from .callbacks import LATER, PRINTED, READ, REFRESHED, WARNED, Callbacks, let_inspect_know
from .errors import error_classes, error_name, known_error, make_error, message_of
from .program_loop import CANCELLED, PENDING, ProgramLoop, is_pending
from .program_threads import ThreadsOfOthers

_FUNCTIONS = """
getattr setattr delattr len iter next isinstance issubclass str repr bool int float complex bytes abs round dir hash
reversed format
"""
_OPERATORS = """
getitem setitem delitem index neg pos invert eq lt le add sub mul truediv floordiv mod pow matmul and_ or_ xor
lshift rshift
"""
_LONGEST_PRINTED = 200_000  # characters
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02  # seconds between two questions whether a call is over
OPERATIONS: dict[str, Callable[..., Any]] = {
    "@call": lambda function, *arguments, **named: function(*arguments, **named),
    "@error_classes": lambda kind: error_classes(kind),
    "@copy": copy.copy,
    "@type": type,
    "@library": questions.answer,
    "@is_instance": questions.is_instance,
    "@is_subclass": questions.is_subclass,
    "@aiter": aiter,
    "@deepcopy": copy.deepcopy,
    **{f"@{name}": getattr(builtins, name) for name in _FUNCTIONS.split()},
    **{f"@{name}": getattr(operator, name) for name in _OPERATORS.split()},
}


AWAITABLES: dict[str, Callable[..., Any]] = {
    "@await": lambda value: value,
    "@anext": lambda values, default: _next_or(values, default),
    "@aenter": lambda manager: manager.__aenter__(),
    "@aexit": lambda manager, error: manager.__aexit__(*_as_caught(error)),
}
"""What the tests await of the program."""


class Answering:
    """Answers requests until there are no more. Made between the prelude, whose names are not the program's, and
    the program itself. ``shared`` names classes that both sides define."""

    def __init__(
        self, module: types.ModuleType, nonce: str, request: int, reply: int, spec: dict[str, Any]
    ) -> None:
        self._module = module
        self._nonce = nonce
        self._request, self._reply = request, reply
        self._given = dict(module.__dict__)
        self._shared: dict[str, Any] = {name: module.__dict__[name] for name in spec.get("shared", ())}
        self._side = wire.WireSide(self._shared, whole=bool(spec.get("whole")))
        self._resolved: dict[str, Any] = {}
        self._loop = ProgramLoop()
        self._callbacks = Callbacks(self.ask_back, self._loop, self._description, self._error)
        self._threads = ThreadsOfOthers(lambda number: self._encode((PENDING, number)))
        self._operations = OPERATIONS | {
            "@start": lambda kind, *arguments: self._loop.start(AWAITABLES[kind](*arguments)),
            "@wait": lambda kind, *arguments: self._loop.wait(AWAITABLES[kind](*arguments)),
            "@cancel": self._loop.cancel,
            "@result": self._loop.result,
            "@turn": self._loop.turn,
            "@end": self._loop.end,
            "@rest": self._go_on,
            "@exit": lambda manager, error: manager.__exit__(*_as_caught(error)),
        }
        if "iscoroutinefunction" in spec["code"]:
            let_inspect_know()
        self._turn = threading.RLock()  # programs may call back from several threads
        self._asked = threading.Condition(self._turn)
        self._is_asked = True  # the tests wait for an answer, and so can be called back
        self._called_back = 0  # how many of their functions are at work for us, each within the one before
        self._sleep = time.sleep
        self._shown = Shown(self._side)
        self._printed: Printed | None = Printed() if spec.get("printed") else None
        self._loaded = False
        self._awaits = bool(spec.get("awaits"))
        if spec.get("reads"):
            self._read_from_tests()
        if spec.get("warns"):
            self._warn_the_tests()
        # Bound here, against programs that replace them.
        self._read, self._write = channel.read_frame, channel.write_frame
        self._encode, self._decode = wire.encode, wire.decode

    def serve(self) -> None:
        """Say that the program is loaded, then answer."""
        if self._printed is not None:
            self._printed.take()  # what loading printed
        self._loaded = True
        # A program that brings such a class itself means its own.
        self._shared |= {name: member for name in self._shared if (member := self._module.__dict__.get(name))}
        self._send("ready")
        while (message := self._next()) is not None:
            self._answer_one(message)

    def _next(self) -> bytes | None:
        with self._turn:
            message = self._read(self._request)
            self._is_asked = True
            self._asked.notify_all()
            return message

    def _go_on(self, seconds: float) -> bool:
        """Let this program's threads go on, which may call back meanwhile; False if there are none."""
        if threading.active_count() == 1:
            return False
        holds = self._turn._is_owned()  # type: ignore[attr-defined]
        state = self._turn._release_save() if holds else None  # type: ignore[attr-defined]
        try:
            self._sleep(min(seconds, 1.0))
        finally:
            if holds:
                self._turn._acquire_restore(state)  # type: ignore[attr-defined]
        return True

    def _answer_one(self, message: bytes) -> None:
        within = self._called_back
        try:
            answer = "value\n" + self._answer(message)
        except Exception as error:
            answer = "error\n" + self._described(error)
        self._tell_printed()
        if changed := self._shown.changed():
            self.ask_back(REFRESHED, (changed,), {})
        with self._turn:
            while self._called_back > within:  # by another thread: they wait for its end first
                self._asked.wait()
            self._is_asked = False
            self._send(answer)

    def _read_from_tests(self) -> None:
        """What the program reads, once it is loaded, is what the tests give it."""
        real_input, real_stdin = input, sys.stdin

        def asked(how: str, *arguments: Any) -> str:
            return str(self.ask_back(READ, (how, *arguments), {}))

        def reading(prompt: object = "") -> str:
            return asked("input", str(prompt)) if self._loaded else real_input(prompt)

        class Stdin(io.TextIOBase):
            def read(_, size: Any = -1) -> str:
                return asked("read", -1 if size is None else size) if self._loaded else real_stdin.read(size)

            def readline(_, size: Any = -1) -> str:  # type: ignore[override]
                return asked("readline", size) if self._loaded else real_stdin.readline(size)

        builtins.input, sys.stdin = reading, Stdin()  # type: ignore[assignment]

    def _warn_the_tests(self) -> None:
        """Warnings of the program, once it is loaded, are given to the tests, whose filters rule them."""

        def show(message: Any, category: Any, *_: Any, **__: Any) -> None:
            if self._loaded:
                self.ask_back(WARNED, (str(message), error_classes(category)), {})

        warnings.simplefilter("always")
        warnings.showwarning = show

    def _tell_printed(self) -> None:
        """What was printed stands in the tests' own streams before they go on."""
        for name, text in self._printed.take() if self._printed is not None else ():
            self.ask_back(PRINTED, (name, text), {})

    def _send(self, text: str) -> None:
        with self._turn:
            self._write(self._reply, f"{self._nonce}\n{text}".encode())

    def _answer(self, message: bytes) -> str:
        name, arguments, named, *where = self._received(message)
        if name == "@poll":
            return self._threads.result(*arguments)
        if where and type(where[0]) is int:
            return self._threads.begin(where[0], lambda: self._done(name, arguments, named))
        if where and where[0] and name != "@turn":
            with self._loop.entered():
                return self._done(name, arguments, named)
        return self._done(name, arguments, named)

    def _done(self, name: str, arguments: list[Any], named: dict[str, Any]) -> str:
        if name == "@name":
            return self._encode(self._resolve(*arguments), self._side)
        if name == "@state":
            questions.set_state(*arguments)
            return "null"
        if name == "@become":
            self._shown.become(*arguments)
            return "null"
        passed = [*arguments, *named.values()]
        before = self._encode(passed, self._side) if self._side.whole else ""
        value = self._called(name)(*arguments, **named)
        if self._awaits:
            value = self._loop.awaited(value)
        text = self._shown.text(value, passed) or self._encode(value, self._side)
        if before and (after := self._encode(passed, self._side)) != before:
            # What a call did to its arguments is a part of what it gives back.
            return '{"changed":[' + text + "," + after + "]}"
        return text

    def _described(self, error: Exception) -> str:
        """Its name; for tests that stand on their own also its other classes, its message and itself."""
        return self._encode(self._description(error), self._side) if self._side.whole else error_name(error)

    def _description(self, error: Any) -> list[Any]:
        """Its classes, its message and its number, which is below zero for one of the tests; the errors in a group."""
        number = error.__dict__.get("_of_tests")
        number = self._side.keep(error) if type(number) is not int else number
        inner = (
            [self._description(each) for each in error.exceptions]
            if isinstance(error, ExceptionGroup)
            else []
        )
        return [error_classes(type(error)), message_of(error), number, inner]

    def _error(self, names: list[str], message: str, number: int) -> Exception:
        """An error of the tests: of the program's class of that name, if it has one, or of Python's."""
        kinds = (self._error_class(name) for name in names)
        error = make_error(next(filter(None, kinds), RuntimeError), message)
        error._of_tests = number  # type: ignore[attr-defined]
        return error

    def _error_class(self, name: str) -> type[Exception] | None:
        own = self._module.__dict__.get(name)
        if isinstance(own, type) and issubclass(own, Exception):
            return own
        return StopAsyncIteration if name == "StopAsyncIteration" else known_error(name)

    def _received(self, message: bytes) -> Any:
        return self._decode(message, kept=self._object, shared=self._shared)

    def _object(self, number: int) -> Any:
        """One's own object by its number; below zero a function of the other side."""
        return self._side.kept[number] if number >= 0 else self._callbacks.get(number)

    def _called(self, name: str) -> Callable[..., Any]:
        return self._operations[name] if name in self._operations else self._resolve(name)

    def _resolve(self, path: str) -> Any:
        """``f``, ``Class.method`` (each time on a new instance), ``Class().method`` (on one instance for all), or
        a longer path of attributes."""
        if path in self._resolved:
            return self._resolved[path]
        first, *rest = path.split(".")
        target = self._attribute(None, first)
        for attribute in rest:
            target = self._attribute(target() if isinstance(target, type) else target, attribute)
        if "()" in path:
            self._resolved[path] = target
        return target

    def _attribute(self, holder: Any, name: str) -> Any:
        bare = name.removesuffix("()")
        if holder is not None:
            member = getattr(holder, bare)
        elif self._defines(bare):
            member = self._module.__dict__[bare]
        elif isinstance(solution := self._module.__dict__.get("Solution"), type) and hasattr(solution, bare):
            member = getattr(solution(), bare)  # as harnesses do for answers that are classes
        else:
            raise NameError(bare)
        return member() if bare != name else member

    def _defines(self, name: str) -> bool:
        namespace = self._module.__dict__
        return name in namespace and (name not in self._given or namespace[name] is not self._given[name])

    def ask_back(self, number: int, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Call a function of the tests, which wait meanwhile for an answer of ours. What a thread waits for does not
        keep them."""
        is_first = threading.current_thread() is threading.main_thread()
        thread = 0 if is_first else threading.get_ident()
        value = self._asked_back([number, list(arguments), named, thread])
        pause = _SHORTEST_PAUSE
        while thread and is_pending(value):
            self._sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            value = self._asked_back([LATER, [value[1]], {}, 0])
        return value

    def _asked_back(self, call: list[Any]) -> Any:
        with self._turn:
            while not self._is_asked:
                self._asked.wait()
            text = self._encode(call, self._side)
            self._called_back += 1
            self._send("back\n" + text)
            while (message := self._read(self._request)) is not None and message[:1] not in (
                b"=",
                b"!",
                b"+",
            ):
                self._answer_one(message)  # the tests' function asks something of its own
            self._is_asked = True
            self._called_back -= 1
            self._asked.notify_all()
            return self._answer_to(message)

    def _answer_to(self, message: bytes | None) -> Any:
        if message is None:
            raise RuntimeError("the tests are gone")
        if message[:1] == b"!":
            raise self._received(message[1:])
        if message[:1] == b"+":  # with descriptions of what is new in it
            described, _, message = message.partition(b"\n")
            for number, *description in self._decode(described[1:]):
                self._callbacks.learn(number, *description)
            return self._received(message)
        return self._received(message[1:])


class Printed:
    """Keeps what the program writes to its streams, beside writing it."""

    def __init__(self) -> None:
        self._kept: list[tuple[str, bytes]] = []
        for name in ("stdout", "stderr"):
            self._watch(name)

    def _watch(self, name: str) -> None:
        raw = getattr(sys, name).buffer.raw
        write = raw.write

        def kept(data: Any) -> Any:
            written = write(data)
            self._kept.append((name, bytes(data)[:written]))
            return written

        raw.write = kept

    def take(self) -> list[tuple[str, str]]:
        """(stream, text) of what was written since the last time, at most ``_LONGEST_PRINTED`` characters of each."""
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            with suppress(Exception):
                stream.flush()  # type: ignore[union-attr]
        kept, self._kept = self._kept, []
        texts = {name: b"".join(data for each, data in kept if each == name) for name in ("stdout", "stderr")}
        return [
            (name, data.decode("utf-8", "replace")[:_LONGEST_PRINTED]) for name, data in texts.items() if data
        ]


async def _next_or(values: Any, default: Any) -> Any:
    """The next of an asynchronous iterator, or ``default`` at its end."""
    try:
        return await values.__anext__()
    except StopAsyncIteration:
        return default


def _as_caught(error: Any) -> tuple[Any, Any, Any]:
    """An error as a context manager is told it."""
    if error == CANCELLED:
        import asyncio

        error = asyncio.CancelledError()
    return (None, None, None) if error is None else (type(error), error, error.__traceback__)
