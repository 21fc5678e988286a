"""On the tests' side: their functions, objects and awaitables, and what a program that was passed them may do.

Of functions, classes and frames it is told no attribute, since those lead to what the tests know.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Sequence
from typing import Any

from .callbacks import SPECIALS
from .errors import error_classes, message_of
from .remote import HELD, Remote

_GENERATORS = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)
_STEPS = frozenset(("send", "throw", "close", "asend", "athrow", "aclose"))
_OF_FUTURES = frozenset(
    ["set_result", "set_exception", "result", "exception", "done", "cancel", "cancelled", "add_done_callback"]
)
_OF_TESTS = ("tests", "unittest.mock")
_SHARED_OBJECTS = frozenset(
    f"{module}.{name}"
    for module, names in {
        "asyncio.locks": "Event Lock Condition Semaphore BoundedSemaphore Barrier",
        "asyncio.queues": "Queue PriorityQueue LifoQueue",
        "threading": "Event Condition Semaphore BoundedSemaphore Barrier _RLock",
        "_thread": "lock RLock",
        "queue": "Queue PriorityQueue LifoQueue _PySimpleQueue",
        "_queue": "SimpleQueue",
        "_io": "StringIO BytesIO",
    }.items()
    for name in names.split()
)
"""Objects of Python's library that tests and programs use together."""
_OF_THREADS = ("threading", "_thread", "queue", "_queue")


def is_of_tests(value: Any) -> bool:
    """Whether a value is a function, a class or an object of the tests, which only they can use."""
    kind = type(value)
    if kind is Remote or kind in HELD:
        return False
    if isinstance(value, _GENERATORS) or callable(value) or hasattr(kind, "__await__"):
        return True
    return kind.__module__ in (*_OF_TESTS, "itertools") or _path(kind) in _SHARED_OBJECTS


def may_block(function: Any, arguments: Sequence[Any]) -> bool:
    """Whether a call that the program asks for is one of an object that threads wait for."""
    owner = getattr(function, "__self__", None)
    owner = arguments[0] if owner is None and arguments else owner
    return type(owner).__module__ in _OF_THREADS and _path(type(owner)) in _SHARED_OBJECTS


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_object(value: Any) -> bool:
    kind = type(value)
    return not isinstance(value, type) and (kind.__module__ in _OF_TESTS or _path(kind) in _SHARED_OBJECTS)


def attribute(value: Any, name: Any) -> Any:
    """An attribute that the program asks for of an object of the tests; of plain values none, since ``str.format``
    leads further. Raises AttributeError."""
    allowed = type(name) is str and not name.startswith("_")
    if isinstance(value, _GENERATORS):
        allowed = name in _STEPS
    elif hasattr(type(value), "add_done_callback") and not _is_object(value):
        allowed = name in _OF_FUTURES
    elif not _is_object(value):
        allowed = False
    if not allowed:
        raise AttributeError(name)
    return getattr(value, name)


def special(error_of: Callable[..., Exception]) -> Callable[..., tuple[str, Any]]:
    """A function that calls a special method for the program: ("value", its result), ("end", None) for a
    StopIteration, ("no", None) for NotImplemented. ``error_of`` makes an error of a description."""

    def called(value: Any, name: str, *arguments: Any) -> tuple[str, Any]:
        if name not in describe(value)[0]:
            raise AttributeError(name)
        if name in ("__exit__", "__aexit__"):
            error = error_of(*arguments[0]) if arguments[0] else None
            arguments = (type(error) if error else None, error, None)
        try:
            result = getattr(type(value), name)(value, *arguments)
        except StopIteration:
            return "end", None
        return ("no", None) if result is NotImplemented else ("value", result)

    return called


def describe(value: Any) -> tuple[list[str], list[Any] | None, list[Any] | None]:
    """What a program may know of an object of the tests: the special methods that it has; of a function its name,
    whether it is a coroutine function, and its parameters; of an exception its classes and what it says, but for a
    failed assertion."""
    if isinstance(value, Exception):
        message = "" if isinstance(value, AssertionError) else message_of(value)
        return [], None, [error_classes(type(value)), message]
    if isinstance(value, (types.FunctionType, types.MethodType, types.BuiltinFunctionType, type)):
        return ["__call__"], [value.__name__, inspect.iscoroutinefunction(value), _parameters(value)], None
    kind = type(value)
    specials = [name for name in SPECIALS if _has(kind, name)]
    call = getattr(kind, "__call__", None) if "__call__" in specials else None  # noqa: B004
    is_coroutine_function = kind.__name__ == "AsyncMock" or inspect.iscoroutinefunction(call)
    return specials, ["", is_coroutine_function, None], None


def _has(kind: type, name: str) -> bool:
    member = getattr(kind, name, None)
    return callable(member) and member is not getattr(object, name, None)


def _parameters(function: Any) -> list[tuple[str, int, list[Any]]] | None:
    """Name and kind of each, and its default in a list if it has one."""
    try:
        listed = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return None
    plain = (int, float, str, bool, type(None))
    return [
        (
            each.name,
            int(each.kind),
            [] if each.default is each.empty else [each.default if type(each.default) in plain else None],
        )
        for each in listed
    ]


def await_here(value: Any) -> Any:
    """The result of an awaitable of the tests that the program waits for in a loop of its own."""
    import asyncio
    from asyncio import events

    async def whole() -> Any:
        return await value

    before = events._get_running_loop()
    events._set_running_loop(None)
    try:
        return asyncio.run(whole())
    finally:
        events._set_running_loop(before)
