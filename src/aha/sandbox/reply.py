"""Whether a reply from the sandbox is the expected value: decided on its parsed text.

The values in a reply are the program's choice. They are never hashed (a set of numbers whose hashes are all equal
takes hours to build), and no more of them are looked at than the expected value has: the time for a verdict is
bounded by what is expected.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from .inside import wire

_LONGEST_EMPTY = 1 << 12  # bytes: whatever is written longer than this is not empty
_NUMBERS = (bool, int, float, complex, Decimal, Fraction)


class _Differs(Exception):
    """It is known by now that the reply is another value."""


class Expected:
    """An expected value, to be compared with replies.

    ``strict``: by type and value at every depth, as ``same_value`` does it; otherwise as Python's ``==`` does, and
    with ``tuples_as_lists`` as it does where a tuple is as good as a list. Raises TypeError or ValueError for a
    value that cannot be compared.
    """

    def __init__(self, value: Any, *, strict: bool, tuples_as_lists: bool = False) -> None:
        text = wire.encode(value)
        self._tree = wire.parse(text)
        self._nodes = _count(self._tree)
        self._strict = strict
        self._alike = strict or tuples_as_lists
        # Tuples in tuples, and subclasses of them, are written up to a dozen times as long as lists.
        self.longest = 24 * len(text) + 4096
        self._openings = (2 if strict else 3) * self._nodes + _openings(text.encode())

    def equals(self, reply: bytes) -> bool:
        """Whether a reply is this value. Raises ValueError for one that is not a value at all."""
        if len(reply) > self.longest or _openings(reply) > self._openings:
            return False
        try:
            return _Comparison(self._strict, self._alike, 2 * self._nodes).same(self._tree, wire.parse(reply))
        except _Differs:
            return False
        except (RecursionError, TypeError, ArithmeticError) as error:
            raise ValueError(f"not a value: {error}") from None


class ReferenceResult:
    """What another program gave, as its reply's text, and how near a reply must come to it: EvalPlus' rules.

    A result is the expected one where Python's ``==`` says so, or where it is of the same type and near: a number, or a
    list or tuple of numbers of one shape. ``tolerance`` is absolute, beside 1e-7 of the expected number; results that
    are floating-point numbers alone have 1e-6 where it is 0. Raises ValueError for a text that is no value.
    """

    def __init__(self, text: str, tolerance: float) -> None:
        self._tree = wire.parse(text.encode())
        floats = self._tree if isinstance(self._tree, list) else [self._tree]
        alone = bool(floats) and all(isinstance(one, float) for one in _items_of_tuple(self._tree, floats))
        self._tolerance = tolerance or (1e-6 if alone else 0.0)
        letters = (
            len(self._tree) if isinstance(self._tree, str) else 0
        )  # a text is as good as its letters as members
        self._room = 2 * (_count(self._tree) + letters)
        self.longest = 24 * len(text) + 4096
        self._openings = 3 * (_count(self._tree) + letters) + _openings(text.encode())

    def _actual(self, reply: bytes) -> Any:
        if len(reply) > self.longest or _openings(reply) > self._openings:
            raise _Differs
        return wire.parse(reply)

    def _comparison(self) -> _Comparison:
        return _Comparison(False, False, self._room)

    def near(self, reply: bytes) -> bool:
        """Whether a reply is this value as Python's ``==`` has it, or near to it. Raises ValueError for no value."""
        return self._is(self._comparison().same, reply) or self._is(self._near, reply)

    def members(self, reply: bytes) -> bool:
        """Whether a reply has the same members, or is near. Raises ValueError for one that is no value."""
        return self._is(self._comparison().same_members, reply) or self._is(self._near, reply)

    def _near(self, expected: Any, actual: Any) -> bool:
        """Whether all numbers are near, where both are of one type and shape."""
        if not self._tolerance or _type_of(expected) != _type_of(actual):
            return False
        mine, theirs = _numbers(expected), _numbers(actual)
        if mine is None or theirs is None or mine.shape != theirs.shape:
            return False
        return all(
            _is_near(*pair, self._tolerance) for pair in zip(mine.numbers, theirs.numbers, strict=True)
        )

    def _is(self, alike: Callable[[Any, Any], bool], reply: bytes) -> bool:
        try:
            return alike(self._tree, self._actual(reply))
        except _Differs:
            return False
        except (RecursionError, TypeError, ArithmeticError) as error:
            raise ValueError(f"not a value: {error}") from None

    def something(self, reply: bytes) -> bool:
        """Whether a reply is true where this is true or something, and false or None where it is not."""
        truth = self._tree if isinstance(self._tree, bool) else self._tree is not None
        for constant in (True, False):
            if is_constant(constant, reply):
                return truth is constant
        return truth is not is_constant(None, reply)

    def root(self, coefficients: Any, reply: bytes) -> bool:
        """Whether a reply is a number at which the polynomial (the constant first) is near to 0."""
        try:
            at = _unwrapped(self._actual(reply))
            if isinstance(at, bool) or not isinstance(at, (int, float)):
                return False
            value = sum(c * float(at) ** i for i, c in enumerate(coefficients))
            return abs(value) <= self._tolerance
        except (_Differs, ArithmeticError, TypeError):
            return False


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The numbers of a tree, in order, and how many stand in each list at each depth."""

    shape: tuple[int, ...]
    numbers: list[Any]


def _numbers(tree: Any) -> _Numbers | None:
    """A tree as numbers; None where it holds anything else, or lists of several lengths at one depth."""
    if isinstance(tree, (bool, int, float, complex)):
        return _Numbers((), [tree])
    if _type_of(tree) not in ("list", "tuple"):
        return None
    below = [_numbers(one) for one in _items(tree)]
    known = [one for one in below if one is not None]
    if len(known) < len(below) or len({one.shape for one in known}) > 1:
        return None
    inner = known[0].shape if known else ()
    return _Numbers((len(known), *inner), [number for one in known for number in one.numbers])


def _type_of(tree: Any) -> str:
    return tree.tag if isinstance(tree, wire.Typed) else type(tree).__name__


def _items_of_tuple(tree: Any, otherwise: list[Any]) -> list[Any]:
    return tree.body if isinstance(tree, wire.Typed) and tree.tag == "tuple" else otherwise


def is_constant(constant: Any, reply: bytes) -> bool:
    """Whether a reply is None, True or False itself."""
    return len(reply) < _LONGEST_EMPTY and wire.parse(reply) is constant


def is_true(reply: bytes) -> bool:
    """Whether Python would take a reply for true. Raises ValueError for one that is not a value."""
    if len(reply) > _LONGEST_EMPTY:
        return True
    value = _unwrapped(wire.parse(reply))
    if not isinstance(value, wire.Typed):
        return bool(value)
    if value.tag in ("tuple", "dict", "set", "frozenset", "view"):
        return bool(value.body)
    if value.tag == "range":
        return bool(range(*value.body))
    return value.tag != "standard" or value.body[1:] not in ([[], None], [0, 0, 0])


class _Comparison:
    """One comparison; ``room`` is how many values of the reply may still be put in order."""

    def __init__(self, strict: bool, alike: bool, room: int) -> None:
        self._strict = strict
        self._alike = alike  # tuples and lists
        self._room = room

    def same(self, expected: Any, actual: Any) -> bool:
        """Step by step through both; the first difference ends it."""
        if not self._strict:
            expected, actual = _unwrapped(expected), _unwrapped(actual)
        kind = self._kind(expected)
        if kind != self._kind(actual):
            return False
        if kind in ("list", "tuple"):
            mine, theirs = _items(expected), _items(actual)
            return len(mine) == len(theirs) and all(map(self.same, mine, theirs))
        if kind == "dict":
            return self._same_dict(expected.body, actual.body)
        if kind in ("set", "frozenset"):
            return len(expected.body) == len(actual.body) and (
                [text for text, _ in self._ordered(expected.body)]
                == [text for text, _ in self._ordered(actual.body)]
            )
        if kind == "range":
            return range(*expected.body) == range(*actual.body)
        return bool(expected == actual or (self._strict and expected != expected and actual != actual))

    def same_members(self, expected: Any, actual: Any) -> bool:
        """Whether Python's ``set`` of both is the same."""
        sides = [_members(_unwrapped(tree)) for tree in (expected, actual)]
        if None in sides:
            return False
        mine, theirs = ({self._text(member) for member in side or ()} for side in sides)
        return mine == theirs

    def _same_dict(self, expected: list[Any], actual: list[Any]) -> bool:
        if len(expected) != len(actual):
            return False
        mine = self._ordered([key for key, _ in expected])
        theirs = self._ordered([key for key, _ in actual])
        return all(
            text == other and self.same(expected[i][1], actual[j][1])
            for (text, i), (other, j) in zip(mine, theirs, strict=True)
        )

    def _kind(self, value: Any) -> str:
        if isinstance(value, wire.Typed):
            tag = value.tag
            if tag == "tuple" and self._alike:
                return "list"
            return "set" if tag in ("frozenset", "view") and not self._strict else tag
        if not self._strict and isinstance(value, _NUMBERS):
            return "number"
        if not self._strict and isinstance(value, bytearray):
            return "bytes"
        return type(value).__name__

    def _ordered(self, keys: list[Any]) -> list[tuple[str, int]]:
        """The keys as texts, equal where the keys are, in order of the texts; and where each stood."""
        return sorted((self._text(key), index) for index, key in enumerate(keys))

    def _text(self, key: Any) -> str:
        self._room -= 1
        if self._room < 0:
            raise _Differs
        if not self._strict:
            key = _unwrapped(key)
        if isinstance(key, wire.Typed):
            if key.tag in ("tuple", "frozenset"):
                parts = map(self._text, key.body)
                return f"{key.tag}(" + ",".join(parts if key.tag == "tuple" else sorted(parts)) + ")"
            raise _Differs
        if isinstance(key, str):
            return json.dumps(key)
        if isinstance(key, bytes):
            return "bytes " + key.hex()
        if isinstance(key, (list, bytearray)):
            raise ValueError(f"a {type(key).__name__} is no member of a set and no key")
        return "None" if key is None else self._number(key)

    def _number(self, key: Any) -> str:
        if self._strict:
            return f"{type(key).__name__} " + (hex(key) if type(key) is int else repr(key + 0))
        if isinstance(key, (Decimal, Fraction)):
            raise _Differs
        if isinstance(key, complex) and key.imag == 0:
            key = key.real
        if isinstance(key, float) and key.is_integer():
            key = int(key)
        if key != key:
            raise _Differs
        return hex(key) if isinstance(key, int) else repr(key)


def _is_near(expected: Any, actual: Any, tolerance: float) -> bool:
    """As numpy's allclose with a relative tolerance of 1e-7, but that not a number is near to itself: EvalPlus takes no
    answer at all where its own solution gives one."""
    if isinstance(expected, complex) or isinstance(actual, complex):
        return abs(expected - actual) <= tolerance + 1e-7 * abs(expected)
    if expected != expected or actual != actual:
        return expected != expected and actual != actual
    one, other = float(expected), float(actual)
    return abs(one - other) <= tolerance + 1e-7 * abs(one) if abs(one) != float("inf") else one == other


def _members(tree: Any) -> list[Any] | str | range | None:
    """What a loop over a value gives; None where there is none."""
    if isinstance(tree, (list, str)):
        return tree
    if not isinstance(tree, wire.Typed):
        return None
    if tree.tag == "dict":
        return [key for key, _ in tree.body]
    if tree.tag == "range":
        return range(*tree.body)
    return tree.body if tree.tag in ("tuple", "set", "frozenset", "view") else None


def _items(value: Any) -> list[Any]:
    return value.body if isinstance(value, wire.Typed) else value


def _unwrapped(value: Any) -> Any:
    """What an instance of a subclass holds; the number that a Decimal or a Fraction is."""
    while isinstance(value, wire.Typed) and value.tag in ("sub", "held"):
        value = value.body if value.tag == "sub" else value.body[0]
    number = wire.number_of(value) if isinstance(value, wire.Typed) else None
    return value if number is None else number


def _openings(text: bytes) -> int:
    """Brackets that open: what costs time to read. Those inside strings are the same in an equal value."""
    return text.count(b"[") + text.count(b"{")


def _count(tree: Any) -> int:
    """Values in a tree of one's own: what a typed value holds is a list of values, or another value."""
    below = tree.body if isinstance(tree, wire.Typed) else tree
    if isinstance(below, wire.Typed):
        return 1 + _count(below)
    return 1 + (sum(map(_count, below)) if isinstance(below, list) else 0)
