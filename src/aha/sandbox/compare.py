"""When an output is the expected one: decided outside, on bytes and plain values only."""

from __future__ import annotations

import re
from typing import Any

_DECIMAL = re.compile(rb"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d{1,3})?")
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_LONGEST_NUMBER = 400  # characters


def same_output(expected: str | bytes, output: bytes, tolerance: float = 0.0) -> bool:
    """Equal line by line, apart from white space at the ends of lines and empty lines at the end.

    Without a ``tolerance`` ``nan`` and ``42.0`` are not ``42``. With one, a number that the expected output writes
    with a decimal point or an exponent may differ by as much, absolutely or relative to it.
    """
    reference = expected.encode() if isinstance(expected, str) else expected
    mine, theirs = _lines(reference), _lines(output)
    if mine == theirs or not tolerance:
        return mine == theirs
    return len(mine) == len(theirs) and all(
        one == other or _near_lines(one, other, tolerance) for one, other in zip(mine, theirs, strict=True)
    )


def _near_lines(expected: bytes, output: bytes, tolerance: float) -> bool:
    mine, theirs = expected.split(), output.split()
    return len(mine) == len(theirs) and all(
        one == other or _near(one, other, tolerance) for one, other in zip(mine, theirs, strict=True)
    )


def _near(expected: bytes, output: bytes, tolerance: float) -> bool:
    if not (_DECIMAL.fullmatch(expected) and _NUMBER.fullmatch(output)) or len(output) > _LONGEST_NUMBER:
        return False
    one, other = float(expected), float(output)
    return abs(one - other) <= tolerance * max(1.0, abs(one))


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
