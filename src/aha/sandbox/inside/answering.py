"""The candidate's side of a conversation: calls its functions and handles its objects as requests say."""

from __future__ import annotations

import builtins
import copy
import io
import operator
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from . import channel, questions, wire
from .aliases import Shown

if TYPE_CHECKING:
    import asyncio

_NAMES = """
ArithmeticError AssertionError AttributeError BufferError EOFError ImportError IndexError KeyError
LookupError MemoryError ModuleNotFoundError NameError NotImplementedError OSError OverflowError
RecursionError ReferenceError RuntimeError TypeError UnboundLocalError UnicodeError ValueError
ZeroDivisionError
"""
ERRORS = frozenset(_NAMES.split())
"""What a test may see of an error: StopIteration or SystemExit could end a test early."""

_FUNCTIONS = """
getattr setattr delattr len iter next isinstance issubclass str repr bool int float complex bytes abs round dir
reversed format
"""
_OPERATORS = """
getitem setitem delitem index neg pos invert eq lt le add sub mul truediv floordiv mod pow matmul and_ or_ xor
lshift rshift
"""
_MOST_CLASSES = 20
_LONGEST_MESSAGE = 2_000  # characters
_LONGEST_PRINTED = 200_000  # characters
PRINTED = -1
"""The number of the tests' function that takes what the program printed."""
READ = -2
"""The number of the one that says what the program reads."""
REFRESHED = -3
"""The number of the one that takes what the program did to containers that the tests know."""
ATTRIBUTE = -4
"""The number of the one that gives an attribute of an object of the tests."""
OPERATIONS: dict[str, Callable[..., Any]] = {
    "@call": lambda function, *arguments, **named: function(*arguments, **named),
    "@error_classes": lambda kind: error_classes(kind),
    "@copy": copy.copy,
    "@type": type,
    "@library": questions.answer,
    "@is_instance": questions.is_instance,
    "@is_subclass": questions.is_subclass,
    "@await": lambda value: awaited(value),
    "@aiter": aiter,
    "@anext": lambda values, default: awaited(next_or(values, default)),
    "@aenter": lambda manager: awaited(manager.__aenter__()),
    "@aexit": lambda manager: awaited(manager.__aexit__(None, None, None)),
    "@deepcopy": copy.deepcopy,
    **{f"@{name}": getattr(builtins, name) for name in _FUNCTIONS.split()},
    **{f"@{name}": getattr(operator, name) for name in _OPERATORS.split()},
}


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
        self._shown = Shown(self._side)
        self._printed: Printed | None = Printed() if spec.get("printed") else None
        self._loaded = False
        if spec.get("reads"):
            self._read_from_tests()
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
        while (message := self._read(self._request)) is not None:
            self._answer_one(message)

    def _answer_one(self, message: bytes) -> None:
        try:
            answer = "value\n" + self._answer(message)
        except Exception as error:
            answer = "error\n" + self._described(error)
        self._tell_printed()
        if changed := self._shown.changed():
            self.ask_back(REFRESHED, (changed,), {})
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

    def _tell_printed(self) -> None:
        """What was printed stands in the tests' own streams before they go on."""
        for name, text in self._printed.take() if self._printed is not None else ():
            self.ask_back(PRINTED, (name, text), {})

    def _send(self, text: str) -> None:
        self._write(self._reply, f"{self._nonce}\n{text}".encode())

    def _answer(self, message: bytes) -> str:
        name, arguments, named = self._received(message)
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
        text = self._shown.text(value, passed) or self._encode(value, self._side)
        if before and (after := self._encode(passed, self._side)) != before:
            # What a call did to its arguments is a part of what it gives back.
            return '{"changed":[' + text + "," + after + "]}"
        return text

    def _described(self, error: Exception) -> str:
        """Its name; for tests that stand on their own also its other classes, its message and itself."""
        if not self._side.whole:
            return error_name(error)
        return self._encode([error_classes(type(error)), _message(error), self._side.keep(error)])

    def _received(self, message: bytes) -> Any:
        return self._decode(message, kept=self._object, shared=self._shared)

    def _object(self, number: int) -> Any:
        """One's own object by its number; below zero a function of the other side."""
        return self._side.kept[number] if number >= 0 else _Callback(self, number)

    def _called(self, name: str) -> Callable[..., Any]:
        return OPERATIONS[name] if name in OPERATIONS else self._resolve(name)

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
        """Call a function of the tests, which waits meanwhile for an answer of ours."""
        self._send("back\n" + self._encode([number, list(arguments), named], self._side))
        while (message := self._read(self._request)) is not None and message[:1] not in (b"=", b"!"):
            self._answer_one(message)  # the tests' function asks something of its own
        if message is None:
            raise RuntimeError("the tests are gone")
        if message[:1] == b"!":
            raise getattr(builtins, message[1:].decode())("in the tests")
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


_loops: list[asyncio.AbstractEventLoop] = []


def awaited(value: Any) -> Any:
    """What an awaitable gives, by one event loop for all that the tests await."""
    import asyncio

    async def whole() -> Any:
        return await value

    if not _loops:
        _loops.append(asyncio.new_event_loop())
        asyncio.set_event_loop(_loops[0])
    return _loops[0].run_until_complete(whole())


async def next_or(values: Any, default: Any) -> Any:
    """The next of an asynchronous iterator, or ``default`` at its end."""
    try:
        return await values.__anext__()
    except StopAsyncIteration:
        return default


class _Callback:
    """A function that the tests passed as an argument."""

    def __init__(self, answering: Answering, number: int) -> None:
        self.number = number
        self.__ask = answering.ask_back

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.__ask(self.number, arguments, named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.__ask(ATTRIBUTE, (self, name), {})


wire.REMOTE.add(_Callback)


def error_classes(kind: Any) -> list[str]:
    """The names of an exception's classes, up to the first of Python's that may be named; none for other things."""
    names: list[str] = []
    for each in kind.__mro__ if isinstance(kind, type) and issubclass(kind, Exception) else ():
        if each is Exception:
            break
        names.append(str(each.__name__))
        if names[-1] in ERRORS and each.__module__ == "builtins":
            break
    return names[:_MOST_CLASSES]


def _message(error: Exception) -> str:
    try:
        text = error.args[0] if len(error.args) == 1 and isinstance(error.args[0], str) else str(error)
    except Exception:
        text = ""
    return str(text)[:_LONGEST_MESSAGE]


def error_name(error: BaseException) -> str:
    """The first class of an error that may be named."""
    return next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in ERRORS), "RuntimeError")
