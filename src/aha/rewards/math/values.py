"""What an answer can be: one small frozen type for each kind.

A scalar's expression is a tree of plain tuples, ``(operator, argument, ...)``; tuples hash, compare and
pickle quickly, and a tree of them holds nothing but numbers and names. The operators:

``("num", Fraction)``, ``("sym", name)``, ``("inf",)``, ``("add", ...)``, ``("mul", ...)``, ``("neg", a)``,
``("div", a, b)``, ``("pow", a, b)``, ``("root", a, n)``, ``("call", name, a)``, ``("log", base, a)``,
``("fact", a)``, ``("double_fact", a)``, ``("binom", n, k)``, ``("abs", a)``, ``("apply", name, a...)`` for an
unknown function,
``("sum" | "prod" | "int" | "lim" | name, ...)`` for what is only stated, not worked out.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from aha.rewards.math.units import Unit

Node = tuple[Any, ...]

STATED = frozenset(("sum", "prod", "int", "lim", "mod", "stated"))
"""Operators that restate a problem instead of answering it."""


def num(value: int | Fraction) -> Node:
    """A rational leaf."""
    return ("num", Fraction(value))


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number or expression, perhaps with a unit; ``percent`` if a percent sign stood at its end."""

    expr: Node
    unit: Unit | None = None
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Collection:
    """Several values. ``kind``: "list" (bare, unordered), "set" (braces) or "tuple" (brackets, ordered)."""

    kind: str
    items: tuple[Value, ...]
    brackets: str = ""
    joined_by_or: bool = False


@dataclass(frozen=True, slots=True)
class Interval:
    """``low`` to ``high``; infinite ends are ``("inf",)`` or its negation."""

    low: Node
    high: Node
    closed_low: bool
    closed_high: bool


@dataclass(frozen=True, slots=True)
class Region:
    """A union of intervals; ``variable`` if it was given as an inequality or a membership."""

    parts: tuple[Interval, ...]
    variable: str = ""


@dataclass(frozen=True, slots=True)
class Relation:
    """An inequality that is not solved for a variable: ``members[0] ops[0] members[1] ...``."""

    members: tuple[Node, ...]
    ops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """``x = value``: a value with the name it was given. ``parameter``: the x of ``f(x) = ...``."""

    name: str
    value: Value
    parameter: str = ""
    approximate: bool = False


@dataclass(frozen=True, slots=True)
class Equation:
    """``a = b = ...`` where the left side is more than a name. ``shown``: values after an "≈"."""

    members: tuple[Value, ...]
    shown: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of expressions."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """``a : b : ...``; also a time of day (``clock``, if it is spelled as one: "3:15", "12:00:30")."""

    parts: tuple[Node, ...]
    meridiem: str = ""  # "am" or "pm"
    clock: bool = False
    spoken: bool = False  # a time in words, which is no ratio


@dataclass(frozen=True, slots=True)
class Based:
    """A numeral with the base it is written in, as in ``1011_2``; the digits may carry a sign."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Residue:
    """``value`` modulo ``modulus``, with the name of what is congruent to it, if it has one."""

    name: str
    value: Value
    modulus: Node


@dataclass(frozen=True, slots=True)
class Piecewise:
    """A function by cases: (value, condition); the condition None stands for "otherwise"."""

    cases: tuple[tuple[Value, Value | None], ...]


@dataclass(frozen=True, slots=True)
class Text:
    """Words, in one spelling."""

    words: str


@dataclass(frozen=True, slots=True)
class Dots:
    """An ellipsis in a list."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """Mathematics our grammar does not know; only compared by spelling here, or by the worker pool."""

    spelled: str


Value = (
    Scalar | Collection | Region | Relation | Named | Equation | Matrix | Ratio | Based | Residue | Piecewise | Text
    | Dots | Opaque
)  # fmt: skip
