"""Parts that are passed in Python and stand in no file: what tells two of them apart.

The source alone does not: what ``make(1)`` and ``make(2)`` return, two ``functools.partial`` of one function, and two
objects of one class have the same. So what a part holds is told behind its source, as lines of comment.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Iterator, Mapping
from typing import Any

from aha.types import AhaError

_DEEP = 4
"""How far values within values are followed."""
_LONG = 2000
"""Characters of a value that are told."""


def source_with_state(part: Any) -> str:
    """The source of a part, or of its class, and what it holds: the same for parts that do the same. Raises AhaError
    where there is no source."""
    function = _function(part)
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError) as error:
        try:
            text = inspect.getsource(type(function))
        except (OSError, TypeError):
            raise AhaError(
                f"The source of {part!r} cannot be read: write it into a file and name it FILE.py:NAME."
            ) from error
    lines = [f"# {line}" for line in _state(part, 0)]
    return "\n".join([text.rstrip("\n"), *lines, ""]) if lines else text


def name_of(part: Any) -> str:
    """What a part is called."""
    function = _function(part)
    own = getattr(function, "__name__", None) or getattr(part, "name", None)
    return own if isinstance(own, str) else type(part).__name__


def _function(part: Any) -> Any:
    while isinstance(part, functools.partial):
        part = part.func
    return part


def _state(part: Any, deep: int) -> Iterator[str]:
    """What a part holds besides its source, a line for each: arguments, what it closes over, its object's values."""
    if deep > _DEEP or inspect.isclass(part) or inspect.ismodule(part):
        return
    if isinstance(part, functools.partial):
        bound = {str(i): value for i, value in enumerate(part.args)} | part.keywords
        yield from _named("partial", bound, deep)
        yield from _state(part.func, deep + 1)
    elif isinstance(part, types.MethodType):
        yield from _named("object", _values(part.__self__), deep)
    elif isinstance(part, types.FunctionType):
        cells = dict(zip(part.__code__.co_freevars, part.__closure__ or (), strict=True))
        filled = {key: cell.cell_contents for key, cell in cells.items() if not _is_empty(cell)}
        yield from _named("closure", {k: v for k, v in filled.items() if v is not part}, deep)
        if "<locals>" in part.__qualname__ or part.__name__ == "<lambda>":
            defaults = part.__defaults__ or ()
            yield from _named("default", {str(i): v for i, v in enumerate(defaults)}, deep)
        if part.__name__ == "<lambda>":
            yield f"code = {part.__code__.co_code.hex()[:_LONG]} {_constants(part.__code__)}"
    elif not isinstance(part, types.BuiltinFunctionType):
        yield from _named("object", _values(part), deep)


def _constants(code: types.CodeType) -> str:
    """What the code of a function says: several lambdas on a line have one source."""
    return repr([c for c in code.co_consts if not isinstance(c, types.CodeType)])[:_LONG]


def _values(part: Any) -> Mapping[str, Any]:
    values = getattr(part, "__dict__", None)
    return values if isinstance(values, Mapping) and not inspect.isclass(part) else {}


def _is_empty(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return True
    return False


def _named(kind: str, values: Mapping[str, Any], deep: int) -> Iterator[str]:
    for key, value in values.items():
        if callable(value) and not inspect.isclass(value):
            yield f"{kind} {key} = {name_of(value)}"
            yield from _state(value, deep + 1)
        elif _is_plain(value, 0):
            yield f"{kind} {key} = {value!r}"[:_LONG].replace("\n", " ")
        else:
            yield f"{kind} {key} = {type(value).__name__}"


def _is_plain(value: Any, deep: int) -> bool:
    """Whether a value's text is the same in every session: that of numbers, texts, and lists and mappings of them."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return True
    if deep > _DEEP:
        return False
    if isinstance(value, Mapping):
        return all(_is_plain(k, deep + 1) and _is_plain(v, deep + 1) for k, v in value.items())
    return type(value) in (list, tuple) and all(_is_plain(v, deep + 1) for v in value)
