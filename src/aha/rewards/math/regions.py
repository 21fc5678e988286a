"""Intervals, unions and solved inequalities: one form for every way to write a set of reals."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

from aha.rewards.math.exact import free_symbols, rational_or_none
from aha.rewards.math.numeric import real_value, same
from aha.rewards.math.values import (
    Collection,
    Interval,
    Matrix,
    Named,
    Node,
    Region,
    Relation,
    Scalar,
    Value,
    num,
)

INFINITY: Node = ("inf",)
MINUS_INFINITY: Node = ("neg", INFINITY)
REALS = Region((Interval(MINUS_INFINITY, INFINITY, False, False),))
REAL_NAMES: tuple[Node, ...] = (("sym", "ℝ"), ("sym", "R"))
_POSITIVE = Region((Interval(num(0), INFINITY, False, False),))
_NEGATIVE = Region((Interval(MINUS_INFINITY, num(0), False, False),))
_NOT_NEGATIVE = Region((Interval(num(0), INFINITY, True, False),))
_NOT_POSITIVE = Region((Interval(MINUS_INFINITY, num(0), False, True),))
_NOT_ZERO = Region((*_NEGATIVE.parts, *_POSITIVE.parts))
_HALVES = (
    {f"{at}{sign}": half for at in "^_" for sign, half in (("+", _POSITIVE), ("-", _NEGATIVE))}
    | {f"{at}>0": _POSITIVE for at in "^_"}
    | {f"{at}<0": _NEGATIVE for at in "^_"}
    | {f"{at}>=0": _NOT_NEGATIVE for at in "^_"}
    | {f"{at}<=0": _NOT_POSITIVE for at in "^_"}
    | {
        "^": _NOT_ZERO,  # of "^*", whose star is cut off
        "^*": _NOT_ZERO,
        "^×": _NOT_ZERO,
    }
    | {"^+_0": _NOT_NEGATIVE, "_0^+": _NOT_NEGATIVE}
)
_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!=", "=": "="}

__all__ = [
    "combine",
    "free_symbols",
    "grid",
    "half_of_reals",
    "integers",
    "is_real_variable",
    "is_same",
    "is_whole_variable",
    "less",
    "listed",
    "member",
    "named_in_words",
    "of",
]
__all__ += ["solve", "union", "without"]


def of(value: Value) -> Region | None:
    """The set of reals a value denotes, if it is an interval or a union of them."""
    if isinstance(value, Region):
        return value
    if isinstance(value, Named) and isinstance(value.value, Region):
        return value.value
    if isinstance(value, Scalar) and value.expr in REAL_NAMES:
        return REALS
    if (
        isinstance(value, Collection)
        and value.kind == "tuple"
        and len(value.items) == 2
        and len(value.brackets) == 2
    ):
        ends = [item.expr for item in value.items if isinstance(item, Scalar) and item.unit is None]
        if len(ends) == 2:
            low, high = ends
            return Region((Interval(low, high, value.brackets[0] == "[", value.brackets[1] == "]"),))
    return None


def points(value: Value) -> tuple[Node, ...] | None:
    """The members of a finite set of scalars."""
    if isinstance(value, Collection) and value.kind == "set":
        members = [item.expr for item in value.items if isinstance(item, Scalar)]
        return tuple(members) if len(members) == len(value.items) else None
    return None


def is_real_variable(told: str, variable: str) -> bool:
    """Whether what a set is made of, before its condition, is the condition's variable itself, and a real number.

    ``{2x : x > 2}`` is no interval from 2, and ``{x in Z : x > 2}`` none at all.
    """
    name, _, kind = told.partition("in")
    return name == (variable or name[:1]) and kind in ("", "ℝ", "R")


def is_whole_variable(told: str, variable: str) -> bool:
    """Whether a set is made of whole numbers of any sign, before its condition: ``x in Z``."""
    name, _, kind = told.partition("in")
    return bool(variable) and name == variable and kind in ("ℤ", "Z")


def member(variable: str, value: Value) -> Value:
    """``x in ...``"""
    region = of(value)
    if region is not None:
        return Region(region.parts, variable)
    if isinstance(value, Collection) and value.kind == "set":
        return Named(variable, Collection("list", value.items) if len(value.items) > 1 else value)
    return Named(variable, value)


def listed(value: Value) -> Region | None:
    """``[0, 1], [2, 3]`` as a union, where all the members of a list are intervals."""
    if not isinstance(value, Collection) or value.kind != "list" or len(value.items) < 2:
        return None
    united = union(list(value.items)) if all(of(item) for item in value.items) else None
    return united if isinstance(united, Region) else None


def integers(region: Region) -> list[Node] | None:
    """The whole numbers in a set of reals; None where they are more than a hundred."""
    numbers: list[Node] = []
    for part in normal(region).parts:
        low, high = real_value(part.low), real_value(part.high)
        if low is None or high is None or not abs(high - low) <= 100:
            return None
        for number in range(int(low) - 1, int(high) + 2):
            above = number > low or (part.closed_low and number == low)
            if above and (number < high or (part.closed_high and number == high)):
                numbers.append(num(number))
    return numbers


def union(values: list[Value]) -> Value | None:
    """A union of intervals and finite sets; None if a part is neither."""
    parts: list[Interval] = []
    for value in values:
        region, members = of(value), points(value)
        if region is not None:
            parts += region.parts
        elif members is not None:
            parts += [Interval(m, m, True, True) for m in members]
        else:
            return None
    variables = {v.variable for v in values if isinstance(v, Region) and v.variable}
    return Region(tuple(parts), variables.pop() if len(variables) == 1 else "")


def half_of_reals(spelled: str) -> Region | None:
    """``\\mathbb{R}^+`` and its like."""
    for name in ("ℝ", "R"):
        if spelled.startswith(name) and spelled[1:] in _HALVES:
            return _HALVES[spelled[1:]]
    return None


def less(whole: Value, value: Value) -> Region | None:
    """An interval or a union without some points."""
    region, outside = of(whole), without(value)
    return None if region is None or outside is None else _meet(region, outside)


def without(value: Value, variable: str = "") -> Region | None:
    """The reals without some points, or without an interval or a union."""
    region, members = of(value), points(value)
    if region is not None:
        return _complement(region, variable)
    if members is None and isinstance(value, Scalar):
        members = (value.expr,)
    if members is None:
        return None
    return _reals_without(members, variable)


def _complement(region: Region, variable: str) -> Region:
    """Everything that is not in a set of reals whose ends can be ordered."""
    gaps: list[Interval] = []
    low, closed = MINUS_INFINITY, False
    for part in normal(region).parts:
        if part.low != MINUS_INFINITY:
            gaps.append(Interval(low, part.low, closed, not part.closed_low))
        low, closed = part.high, not part.closed_high
    if low != INFINITY:
        gaps.append(Interval(low, INFINITY, closed, False))
    return Region(tuple(gaps), variable)


def _reals_without(members: tuple[Node, ...], variable: str = "") -> Region | None:
    ordered = _ordered(list(members))
    if ordered is None:
        return None
    ends = [MINUS_INFINITY, *ordered, INFINITY]
    pairs = pairwise(ends)
    return Region(tuple(Interval(low, high, False, False) for low, high in pairs), variable)


def _ordered(nodes: list[Node]) -> list[Node] | None:
    keyed: list[tuple[Any, Node]] = [(real_value(node), node) for node in nodes]
    if any(key is None for key, _ in keyed):
        return None
    return [node for _, node in sorted(keyed, key=lambda pair: pair[0])]


def solve(members: tuple[Node, ...], ops: tuple[str, ...]) -> Value:
    """An inequality as the set it describes, if it is linear in one variable; else a Relation."""
    region: Region | None = None
    for left, op, right in zip(members, ops, members[1:], strict=False):
        part = _half_line(left, op, right) or _distance(left, op, right)
        if part is None or (region is not None and part.variable != region.variable):
            return _oriented(members, ops)
        region = part if region is None else _meet(region, part)
        if region is None:
            return _oriented(members, ops)
    return region or _oriented(members, ops)


def _oriented(members: tuple[Node, ...], ops: tuple[str, ...]) -> Relation:
    """Written from small to large."""
    if ops and ops[0] in (">", ">="):
        return Relation(members[::-1], tuple(_TURNED[op] for op in ops[::-1]))
    return Relation(members, ops)


def _half_line(left: Node, op: str, right: Node) -> Region | None:
    if op not in _TURNED:
        return None
    names = free_symbols(left) | free_symbols(right)
    if len(names) != 1:
        return None
    (name,) = names
    symbol: Node = ("sym", name)
    if right == symbol and name not in free_symbols(left):
        left, op, right = right, _TURNED[op], left
    if left == symbol and name not in free_symbols(right):
        bound = right
    else:
        root = _linear_root(("add", left, ("neg", right)), name)
        if root is None:
            return None
        bound, rising = num(root[0]), root[1]
        op = op if rising else _TURNED[op]
    return _ray(bound, op, name)


def _distance(left: Node, op: str, right: Node) -> Region | None:
    """``|2x - 1| < 3`` and ``|x| >= 1``."""
    if right[0] == "abs":
        left, op, right = right, _TURNED.get(op, ""), left
    bound = real_value(right)
    if left[0] != "abs" or op not in ("<", "<=", ">", ">=") or bound is None:
        return None
    if bound < 0 or (bound == 0 and op != ">"):
        return None
    low = _half_line(left[1], _TURNED[op], ("neg", right))
    high = _half_line(left[1], op, right)
    if low is None or high is None:
        return None
    if op in ("<", "<="):
        return _meet(low, high)
    return Region((*low.parts, *high.parts), low.variable)


_WORDS = {
    "positive": _POSITIVE,
    "negative": _NEGATIVE,
    "nonnegative": _NOT_NEGATIVE,
    "nonpositive": _NOT_POSITIVE,
}


def named_in_words(words: str) -> Region | None:
    """ "all positive real numbers" and its like."""
    plain = (
        words.replace("-", "")
        .removeprefix("the ")
        .removeprefix("set of ")
        .removeprefix("all ")
        .removeprefix("any ")
    )
    kind, _, rest = plain.partition(" ")
    return _WORDS.get(kind) if rest in ("real numbers", "reals", "real number") else None


def _ray(bound: Node, op: str, name: str) -> Region | None:
    if op == "!=":
        return _reals_without((bound,), name)
    if op == "=":
        return Region((Interval(bound, bound, True, True),), name)
    if op in ("<", "<="):
        return Region((Interval(MINUS_INFINITY, bound, False, op == "<="),), name)
    return Region((Interval(bound, INFINITY, op == ">=", False),), name)


def _linear_root(node: Node, name: str) -> tuple[Fraction, bool] | None:
    """Where a linear expression with rational coefficients vanishes, and whether it rises."""
    values = []
    for x in (0, 1, 2, 5, Fraction(-7, 3)):
        value = rational_or_none(node, {name: Fraction(x)})
        if value is None:
            return None
        values.append(value)
    at_zero, slope = values[0], values[1] - values[0]
    others = ((values[2], 2), (values[3], 5), (values[4], Fraction(-7, 3)))
    if slope == 0 or any(value != at_zero + slope * x for value, x in others):
        return None
    return -at_zero / slope, slope > 0


def combine(items: list[Value], joined: str) -> Value | None:
    """Several inequalities about one variable as one set: "or" unites, "and" and a comma intersect."""
    if joined == "or" and any(isinstance(item, Region) for item in items):
        items = [_as_points(item) for item in items]
    regions = [item for item in items if isinstance(item, Region) and item.variable]
    if len(regions) != len(items) or len({region.variable for region in regions}) != 1:
        return None
    united = Region(tuple(part for region in regions for part in region.parts), regions[0].variable)
    if joined == "or":
        return united
    meeting: Region | None = regions[0]
    for region in regions[1:]:
        meeting = _meet(meeting, region) if meeting else None
    return meeting if meeting and meeting.parts else united


def _as_points(value: Value) -> Value:
    """``x = 1`` as the set of one number, beside ``x < 0``."""
    if not isinstance(value, Named) or value.parameter or not isinstance(value.value, Scalar):
        return value
    point = value.value.expr
    return Region((Interval(point, point, True, True),), value.name)


def _meet(a: Region, b: Region) -> Region | None:
    parts: list[Interval] = []
    for first in a.parts:
        for second in b.parts:
            low = _pick((first.low, first.closed_low), (second.low, second.closed_low), largest=True)
            high = _pick((first.high, first.closed_high), (second.high, second.closed_high), largest=False)
            if low is None or high is None:
                return None
            start, end = real_value(low[0]), real_value(high[0])
            if start is None or end is None or start < end or (start == end and low[1] and high[1]):
                parts.append(Interval(low[0], high[0], low[1], high[1]))
    return Region(tuple(parts), a.variable)


def _pick(a: tuple[Node, bool], b: tuple[Node, bool], largest: bool) -> tuple[Node, bool] | None:
    """The tighter of two bounds."""
    for first, second in ((a, b), (b, a)):
        if first[0] in (INFINITY, MINUS_INFINITY):
            return second
    x, y = real_value(a[0]), real_value(b[0])
    if x is None or y is None:
        return None
    if x == y:
        return a[0], a[1] and b[1]
    return a if (x > y) == largest else b


def normal(region: Region) -> Region:
    """Sorted, and with touching intervals joined, where the ends can be ordered."""
    keyed: list[tuple[Any, Any, Interval]] = [
        (real_value(part.low), real_value(part.high), part) for part in region.parts
    ]
    if any(low is None or high is None for low, high, _ in keyed):
        return region
    keyed.sort(key=lambda entry: (entry[0], not entry[2].closed_low))
    joined: list[tuple] = []
    for low, high, part in keyed:
        if low > high or (low == high and not (part.closed_low and part.closed_high)):
            continue
        if joined:
            _, last_high, last = joined[-1]
            if low < last_high or (low == last_high and (part.closed_low or last.closed_high)):
                closed = part.closed_high if high > last_high else last.closed_high
                closed = closed or (high == last_high and part.closed_high)
                end = part.high if high > last_high else last.high
                joined[-1] = (
                    joined[-1][0],
                    max(high, last_high),
                    Interval(last.low, end, last.closed_low, closed),
                )
                continue
        joined.append((low, high, part))
    return Region(tuple(part for _, _, part in joined), region.variable)


def is_same(a: Region, b: Region) -> bool | None:
    """Whether two unions of intervals are one set."""
    a, b = normal(a), normal(b)
    if len(a.parts) != len(b.parts):
        return False
    undecided = False
    for first, second in zip(a.parts, b.parts, strict=True):
        if (first.closed_low, first.closed_high) != (second.closed_low, second.closed_high):
            return False
        for x, y in ((first.low, second.low), (first.high, second.high)):
            equal = _same_end(x, y)
            if equal is False:
                return False
            undecided = undecided or equal is None
    return None if undecided else True


def _same_end(x: Node, y: Node) -> bool | None:
    ends = (INFINITY, MINUS_INFINITY)
    if x in ends or y in ends:
        return x == y
    return same(x, y)


def grid(items: tuple[Value, ...]) -> Matrix | None:
    """A list of lists as a matrix: ``[[1, 2], [3, 4]]``."""
    rows = []
    for item in items:
        if not isinstance(item, Collection) or item.kind != "tuple" or item.brackets != "[]":
            return None
        row = [cell.expr for cell in item.items if isinstance(cell, Scalar)]
        if len(row) != len(item.items):
            return None
        rows.append(tuple(row))
    return Matrix(tuple(rows)) if len({len(row) for row in rows}) == 1 else None
