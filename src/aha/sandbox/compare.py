"""When an output is the expected one: decided outside, on bytes and plain values only."""

from __future__ import annotations

from typing import Any


def same_output(expected: str | bytes, output: bytes) -> bool:
    """Equal line by line, apart from white space at the ends of lines and empty lines at the end.

    There is no tolerance on numbers: ``nan`` and ``42.0`` are not ``42``.
    """
    wanted = expected.encode() if isinstance(expected, str) else expected
    return _lines(wanted) == _lines(output)


def _lines(text: bytes) -> list[bytes]:
    lines = [line.rstrip() for line in text.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def same_value(expected: Any, value: Any) -> bool:
    """Equal in type and value, at every depth.

    ``True`` is not ``1`` and ``1`` is not ``1.0``. A tuple counts as a list, since expected values come as
    JSON, which has no tuples. ``nan`` equals ``nan`` and nothing else; ``-0.0`` equals ``0.0``. Instances of
    subclasses, iterators and objects equal nothing.
    """
    if isinstance(expected, (list, tuple)) and type(value) in (list, tuple):
        return len(expected) == len(value) and all(map(same_value, expected, value))
    if type(expected) is not type(value):
        return False
    if isinstance(expected, float):
        return expected == value or (expected != expected and value != value)
    if isinstance(expected, dict):
        return (
            expected.keys() == value.keys()
            and _typed(expected) == _typed(value)
            and all(same_value(expected[key], value[key]) for key in expected)
        )
    if isinstance(expected, (set, frozenset)):
        return expected == value and _typed(expected) == _typed(value)
    return type(expected) in (bool, int, str, bytes, bytearray, complex, type(None)) and expected == value


def _typed(keys: Any) -> set[tuple[type, Any]]:
    return {(type(key), key) for key in keys}
