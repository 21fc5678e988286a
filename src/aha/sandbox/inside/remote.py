"""What stands in a test program for the candidate's objects.

An operation on one is asked of the candidate and gives a plain value or another such object. Nothing that the
candidate claims may decide a test by itself: what compares an object of the candidate with a plain value is
decided here, and is false.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from . import wire
from .program_loop import CANCELLED

Ask = Callable[..., Any]  # (name of an operation, arguments...) -> its result


_ASKED_FOR = frozenset(
    [
        "__name__",
        "__qualname__",
        "__doc__",
        "__dict__",
        "__annotations__",
        "__members__",
        "__code__",
        "__bases__",
    ]
    + [
        "__mro__",
        "__wrapped__",
        "__defaults__",
        "__kwdefaults__",
        "__closure__",
        "__dataclass_fields__",
        "__func__",
    ]
)


class Remote:
    """An object of the candidate. ``number`` is the candidate's number for it."""

    __slots__ = ("_ask", "number")

    def __init__(self, ask: Ask, number: int) -> None:
        object.__setattr__(self, "_ask", ask)
        object.__setattr__(self, "number", number)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._ask("@call", self, *arguments, **named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in _ASKED_FOR:
            raise AttributeError(name)
        return self._ask("@getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("@setattr", self, name, value)

    def __delattr__(self, name: str) -> None:
        self._ask("@delattr", self, name)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Remote):
            return other.number == self.number or bool(self._ask("@eq", self, other))
        return NotImplemented

    def __hash__(self) -> int:
        """As the program's own sets and keys have it, where its objects that are equal are one."""
        number = self._ask("@hash", self)
        return hash(number) if type(number) is int else object.__hash__(self)

    def __lt__(self, other: Any) -> Any:
        return self._with_its_like("@lt", other)

    def __le__(self, other: Any) -> Any:
        return self._with_its_like("@le", other)

    def __gt__(self, other: Any) -> Any:
        return other.__lt__(self) if isinstance(other, Remote) else NotImplemented

    def __ge__(self, other: Any) -> Any:
        return other.__le__(self) if isinstance(other, Remote) else NotImplemented

    def _with_its_like(self, operation: str, other: Any) -> Any:
        return self._ask(operation, self, other) if isinstance(other, Remote) else NotImplemented

    def _combined(self, operation: str, one: Any, other: Any) -> Any:
        """An operation on two values. Together with a plain one it must not give a plain one: ``abs(x - 42)``
        would be whatever the candidate likes, without its knowing the 42."""
        result = self._ask(operation, one, other)
        if isinstance(one, Remote) and isinstance(other, Remote):
            return result
        return result if isinstance(result, Remote) else NotImplemented

    def __contains__(self, item: Any) -> bool:
        return any(item is each or item == each for each in self)

    def __iter__(self) -> Any:
        iterator = self._ask("@iter", self)
        return iterator if not isinstance(iterator, Remote) else _Iterator(iterator)

    def __next__(self) -> Any:
        return _next(self)

    def __format__(self, form: str) -> str:
        return str(self._ask("@format", self, form))

    def __repr__(self) -> str:
        return str(self._ask("@repr", self))

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, (Remote, *HELD)) and bool(self._ask("@isinstance", instance, self))

    def __subclasscheck__(self, kind: Any) -> bool:
        return isinstance(kind, Remote) and bool(self._ask("@issubclass", kind, self))

    def __copy__(self) -> Any:
        return self._ask("@copy", self)

    def __deepcopy__(self, memo: Any) -> Any:
        return self._ask("@deepcopy", self)

    def __await__(self) -> Any:
        return awaited("@await", self).__await__()

    def __aiter__(self) -> Any:
        return self._ask("@aiter", self)

    async def __anext__(self) -> Any:
        return _ended(await awaited("@anext", self, (_END,)), StopAsyncIteration)

    async def __aenter__(self) -> Any:
        return await awaited("@aenter", self)

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> bool:
        suppressed = await awaited("@aexit", self, _as_told(error))
        return suppressed is True and _raised_plainly(error, trace)

    def __enter__(self) -> Any:
        return self._ask("@call", self._ask("@getattr", self, "__enter__"))

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        suppressed = self._ask("@exit", self, _as_told(error))
        return suppressed is True and _raised_plainly(error, trace)


# The class has a docstring of its own, which would stand for the object's.
Remote.__doc__ = property(lambda self: self._ask("@getattr", self, "__doc__"))  # type: ignore[assignment]


def _single(name: str) -> Any:
    def method(self: Remote, *arguments: Any) -> Any:
        return self._ask(f"@{name}", self, *arguments)

    return method


def _binary(name: str, *, swapped: bool = False) -> Any:
    def method(self: Remote, other: Any) -> Any:
        one, two = (other, self) if swapped else (self, other)
        return self._combined(f"@{name}", one, two)

    return method


_UNARY = """
len str bool int float complex index getitem setitem delitem neg pos abs invert round reversed dir
"""
_BINARY = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift"

for _name in _UNARY.split():
    setattr(Remote, f"__{_name}__", _single(_name))
for _name in _BINARY.split():
    _operation = _name + "_" * (_name in ("and", "or"))
    setattr(Remote, f"__{_name}__", _binary(_operation))
    setattr(Remote, f"__r{_name}__", _binary(_operation, swapped=True))


class _Iterator:
    """Iterates over an iterator of the candidate."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def __iter__(self) -> _Iterator:
        return self

    def __next__(self) -> Any:
        return _next(self._remote)


_END = "the end of an iterator"


def _next(remote: Remote) -> Any:
    # The candidate's StopIteration does not travel; a default of ours tells the end from every value of its.
    return _ended(remote._ask("@next", remote, (_END,)), StopIteration)


def _ended(value: Any, end: type[Exception]) -> Any:
    if isinstance(value, tuple) and value == (_END,):
        raise end
    return value


between_loops: list[Any] = []
"""The ``TestsLoop``, once there are tests that await."""


def _as_told(error: Any) -> Any:
    if error is None or isinstance(error, Exception):
        return error
    return CANCELLED if type(error).__name__ == "CancelledError" else None


plain_raises: set[int] = set()
"""The lines of the tests where an error is raised whatever the program does, in a ``with`` that it may suppress."""


def find_plain_raises(source: str) -> None:
    """Note them: elsewhere a program's context manager could suppress what says that it is wrong."""
    for block in ast.walk(ast.parse(source)):
        for each in block.body if isinstance(block, (ast.With, ast.AsyncWith)) else ():
            names = any(isinstance(node, (ast.Name, ast.Attribute, ast.Call)) for node in ast.walk(each))
            if isinstance(each, ast.Raise) or not names:
                plain_raises.add(each.lineno)


def _raised_plainly(error: Any, trace: Any) -> bool:
    if trace is None or trace.tb_next is not None or isinstance(error, AssertionError):
        return False
    return trace.tb_frame.f_code.co_filename == "tests.py" and trace.tb_lineno in plain_raises


async def awaited(operation: str, remote: Remote, *arguments: Any) -> Any:
    """What an operation of the program gives that may wait: within a loop others go on meanwhile."""
    from asyncio import events

    if events._get_running_loop() is None or not between_loops:
        return remote._ask("@wait", operation, remote, *arguments)
    return await between_loops[0].awaited(operation, remote, *arguments)


async def _whole(remote: Remote) -> Any:
    return await remote


def run_remotes_in_loops() -> None:
    """Let ``asyncio.run`` and tasks take the candidate's coroutines, which are objects here."""
    import asyncio.base_events
    import asyncio.runners

    for holder, name in ((asyncio.runners.Runner, "run"), (asyncio.base_events.BaseEventLoop, "create_task")):
        setattr(holder, name, _taking_remotes(getattr(holder, name)))


def _taking_remotes(real: Any) -> Any:
    def taking(self: Any, coroutine: Any, **named: Any) -> Any:
        return real(self, _whole(coroutine) if isinstance(coroutine, Remote) else coroutine, **named)

    return taking


def _held_class(base: type) -> type:
    """A plain type whose instances can be asked for what the candidate's subclass of it adds."""

    def __getattr__(self: Any, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._remote, name)

    return type(f"Held{base.__name__.title()}", (base,), {"__getattr__": __getattr__})


HELD: tuple[type, ...] = tuple(map(_held_class, (int, float, str, bytes, list, tuple, dict, set, frozenset)))
_HELD_BY_BASE = {kind.__mro__[1]: kind for kind in HELD}


def hold(value: Any, remote: Remote) -> Any:
    """A plain value that is also an object of the candidate."""
    kind = _HELD_BY_BASE.get(type(value))
    if kind is None:
        return value
    local = kind(value)
    local._remote = remote
    local.number = remote.number
    return local


wire.REMOTE.update((Remote, *HELD))
