"""What tests ask of a program by Python's library (``inspect``, ``dataclasses``, ``typing``), answered by its side."""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
import types
from collections.abc import Callable
from typing import Any

from . import wire
from .remote import HELD, Remote

_NAMES = {
    "inspect": "signature getsource getdoc getfullargspec getmembers iscoroutinefunction isgeneratorfunction "
    "isgenerator iscoroutine isasyncgenfunction isasyncgen isclass isfunction ismethod isbuiltin isabstract isroutine "
    "isawaitable ismodule isdatadescriptor unwrap getattr_static getmro",
    "asyncio": "iscoroutinefunction iscoroutine",
    "dataclasses": "asdict astuple fields replace is_dataclass",
    "typing": "get_type_hints get_origin get_args",
}
LIBRARY = frozenset(f"{module}.{name}" for module, names in _NAMES.items() for name in names.split())
_BY_NAME = "a function of the library: "
_PLAIN = (*wire.CLASSES.values(), object)


def answer(path: str, *arguments: Any, **named: Any) -> Any:
    """On the program's side: what a function of the library says."""
    if path not in LIBRARY:
        raise NameError(path)
    return _function(path)(
        *map(_not_by_name, arguments), **{key: _not_by_name(each) for key, each in named.items()}
    )


def _function(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(".")
    return getattr(importlib.import_module(module), name)


def _not_by_name(value: Any) -> Any:
    """A function of the library that was passed travels by its name."""
    path = value.removeprefix(_BY_NAME) if isinstance(value, str) else ""
    return _function(path) if path != value and path in LIBRARY else value


def _by_name(value: Any) -> Any:
    path = getattr(value, "asks_for", None) if type(value) is types.FunctionType else None
    return value if path is None else _BY_NAME + path


def is_instance(value: Any, module: str, name: str) -> bool:
    """On the program's side: whether an object is of a class of the library."""
    kind = _library_class(module, name)
    return kind is not None and isinstance(value, kind)


def is_subclass(value: Any, module: str, name: str) -> bool:
    """On the program's side: whether a class is below one of the library."""
    kind = _library_class(module, name)
    return kind is not None and issubclass(value, kind)


def _library_class(module: str, name: str) -> type | None:
    if module.split(".")[0] not in sys.stdlib_module_names:
        return None
    kind = getattr(importlib.import_module(module), name, None)
    return kind if isinstance(kind, type) else None


STATES = ("sys.argv", "os.environ")
"""What tests set of the process, and a program reads."""


def state_of(state: str) -> Any:
    return list(sys.argv) if state == "sys.argv" else dict(os.environ)


def set_state(state: str, value: Any) -> None:
    """On the program's side: what the tests set of the process."""
    if state == "sys.argv":
        sys.argv[:] = value
    elif state == "os.environ":
        os.environ.clear()
        os.environ.update(value)
    elif state == "random.seed":
        import random

        random.seed(value)


def let_library_ask(source: str) -> None:
    """In a test process: functions of the library that are asked of an object of the program ask the program."""
    for module, names in _NAMES.items():
        if module not in source:
            continue
        holder = importlib.import_module(module)
        for name in names.split():
            if hasattr(holder, name):
                setattr(holder, name, _asking(f"{module}.{name}", getattr(holder, name)))


def _asking(path: str, real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    def function(*arguments: Any, **named: Any) -> Any:
        first = arguments[0] if arguments else None
        if type(first) is Remote:
            passed = {key: _by_name(each) for key, each in named.items()}
            return first._ask("@library", path, *map(_by_name, arguments), **passed)
        return real(*arguments, **named)

    function.asks_for = path  # type: ignore[attr-defined]
    return function


def builtins_that_ask(source: str) -> dict[str, Any]:
    """``isinstance``, ``issubclass`` and ``type`` for tests: the class of a program's object may be the library's."""

    def asked(operation: str, real: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
        def function(value: Any, kind: Any) -> bool:
            if isinstance(kind, tuple):
                return any(function(value, each) for each in kind)
            if type(value) is Remote and kind in _PLAIN and real is issubclass:
                return bool(value._ask("@issubclass", value, kind))
            place = _place_of(type if kind is type_ else kind) if type(value) is Remote else None
            return real(value, kind) if place is None else bool(value._ask(operation, value, *place))

        return function

    def type_(value: Any, *rest: Any, **named: Any) -> Any:
        if not rest and type(value) in (Remote, *HELD):
            return (value if type(value) is Remote else value._remote)._ask("@type", value)
        return type(value, *rest, **named)

    asking = {
        "isinstance": asked("@is_instance", isinstance),
        "issubclass": asked("@is_subclass", issubclass),
    }
    names_type = _NAMES_TYPE.search(source) is not None  # as a base or a value, which a function cannot be
    return asking if names_type else asking | {"type": type_}


def _place_of(kind: Any) -> tuple[str, str] | None:
    """Where the library has a class; None for Python's plain ones, the tests' own and the program's."""
    if not isinstance(kind, type) or kind in _PLAIN or kind in HELD or kind is Remote:
        return None
    place = _WHERE.get(kind.__name__) if kind.__module__ == "builtins" else None
    module, name = place or (kind.__module__, kind.__name__)
    return (module, name) if module.split(".")[0] in sys.stdlib_module_names else None


_NAMES_TYPE = re.compile(r"\(\s*type\s*[,)]|\btype\s*\[|(?:->|:|=)\s*type\s*(?:[,)\n]|\Z)")
_WHERE = {
    "generator": ("types", "GeneratorType"),
    "coroutine": ("types", "CoroutineType"),
    "async_generator": ("types", "AsyncGeneratorType"),
    "function": ("types", "FunctionType"),
    "method": ("types", "MethodType"),
    "module": ("types", "ModuleType"),
    "mappingproxy": ("types", "MappingProxyType"),
}
