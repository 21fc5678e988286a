"""Exceptions as they travel: by the names of their classes and their message, never as objects."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from typing import Any

_ENDS = (StopIteration, StopAsyncIteration)  # could end a loop of the tests early
ERRORS = frozenset(
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, (*_ENDS,))
) - {"Exception"}
"""Python's own exceptions that a test may see."""
_OF_TESTING = frozenset(("unittest", "doctest", "bdb", "pdb", "test"))  # theirs say how a test goes on
_DESCRIBED = (OSError, UnicodeError, SyntaxError)  # classes with fields of their own beside the message
_MOST_CLASSES = 20
_LONGEST_MESSAGE = 2_000  # characters


def error_classes(kind: Any) -> list[str]:
    """The names of an exception's classes, up to the first of Python's or its library's (with its module); none for
    other things."""
    names: list[str] = []
    for each in kind.__mro__ if isinstance(kind, type) and issubclass(kind, Exception) else ():
        if each is Exception:
            break
        public = _public_name(each)
        names.append(public or str(each.__name__))
        if public:
            break
    return names[:_MOST_CLASSES]


def _public_name(kind: type) -> str:
    name, module = kind.__name__, kind.__module__
    if module == "builtins":
        return name if name in ERRORS else ""
    path = f"{module}.{name}"
    return path if isinstance(module, str) and library_error(path) is kind else ""


def library_error(path: str) -> type[Exception] | None:
    """The exception class of the library by this path; None if it is none, or one that steers tests."""
    module, _, name = path.rpartition(".")
    top = module.split(".")[0]
    if top not in sys.stdlib_module_names or top in _OF_TESTING:
        return None
    kind = getattr(sys.modules.get(module), name, None)
    good = isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, _ENDS)
    return kind if good else None


def known_error(name: str) -> type[Exception] | None:
    """Python's or its library's exception class of a name in ``error_classes``."""
    if name in ERRORS:
        return getattr(builtins, name)
    return library_error(name) if "." in name else None


def make_error(
    kind: type[Exception], message: str, fields: Callable[[Any, str], Any] | None = None
) -> Exception:
    """An exception of a class with a message, whatever its constructor wants; ``fields(error, name)`` gives what
    else such an exception tells."""
    plain = known_error(kind.__name__) is kind and not issubclass(kind, _DESCRIBED)
    if not plain and known_error(_public_name(kind)) is kind:
        kind = _with_fields(kind, fields)
    try:
        return kind(message)
    except Exception:
        error = kind.__new__(kind, message)
        error.args = (message,)
        return error


def _with_fields(kind: type[Exception], fields: Callable[[Any, str], Any] | None) -> type[Exception]:
    own: dict[str, Any] = {
        "__init__": lambda self, message: None,
        "__str__": lambda self: self.args[0],
        "__module__": kind.__module__,
    }
    if fields is not None:
        own["__getattr__"] = fields
        for base in kind.__mro__[: kind.__mro__.index(Exception)]:
            names = [name for name, each in vars(base).items() if type(each).__name__ == "member_descriptor"]
            own |= {name: _field(fields, name) for name in names}
    return type(kind.__name__, (kind,), own)


def _field(fields: Callable[[Any, str], Any], name: str) -> property:
    return property(lambda error: fields(error, name))


def message_of(error: Exception) -> str:
    """What an exception says, cut."""
    try:
        text = error.args[0] if len(error.args) == 1 and isinstance(error.args[0], str) else str(error)
    except Exception:
        text = ""
    return str(text)[:_LONGEST_MESSAGE]


def error_name(error: BaseException) -> str:
    """The first class of an error that may be named."""
    return next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in ERRORS), "RuntimeError")
