"""Answers that are determined but for a constant or a whole number of periods.

``\\sin^2 x + C`` and ``-\\cos^2 x + C`` are one family of antiderivatives, ``\\frac{\\pi}{6} + 2k\\pi`` and
``\\frac{13\\pi}{6} - 2n\\pi`` one set of angles.
"""

from __future__ import annotations

from aha.rewards.math import numeric
from aha.rewards.math.exact import free_symbols
from aha.rewards.math.families import substituted
from aha.rewards.math.values import Named, Node, Scalar, Value, num

_CONSTANTS = frozenset("CcKkA")
_INTEGERS = frozenset("kmnjl")
_MOST_PERIODS = 1_000


def same_but_for_constant(gold: Value, answer: Value) -> bool:
    """Whether two functions with a constant of integration differ by a constant. The gold's letter is C."""
    one, other = _expression(gold), _expression(answer)
    if one is None or other is None:
        return False
    first, second = _without_constant(one, frozenset("C")), _without_constant(other, _CONSTANTS)
    if first is None or second is None:
        return False
    names = free_symbols(first)
    if len(names) != 1 or free_symbols(second) != names:
        return False
    (name,) = names
    difference: Node = ("add", first, ("neg", second))
    steps = (("root", num(2), num(2)), ("sym", "pi"))
    shifted = (substituted(difference, {name: ("add", ("sym", name), step)}) for step in steps)
    return all(numeric.same(difference, moved) is True for moved in shifted)


def same_but_for_periods(gold: Value, answer: Value) -> bool:
    """Whether two angles with a whole number of periods are one set: other first members, or another direction."""
    one, other = _expression(gold), _expression(answer)
    if one is None or other is None or _unit(gold) != _unit(answer):
        return False
    first, second = _period(one), _period(other)
    if first is None or second is None:
        return False
    (start, step), (begin, stride) = first, second
    if numeric.same(step, stride) is not True and numeric.same(step, ("neg", stride)) is not True:
        return False
    count = numeric.real_value(("div", ("add", begin, ("neg", start)), step))
    return (
        count is not None
        and abs(count) < _MOST_PERIODS
        and numeric.same(("add", start, ("mul", num(round(float(count))), step)), begin) is True
    )


def _expression(value: Value) -> Node | None:
    value = value.value if isinstance(value, Named) else value
    return value.expr if isinstance(value, Scalar) else None


def _unit(value: Value) -> object:
    value = value.value if isinstance(value, Named) else value
    return value.unit if isinstance(value, Scalar) else None


def _without_constant(expr: Node, letters: frozenset[str]) -> Node | None:
    """The expression without the one constant that is added to it; None if there is none."""
    if expr[0] != "add":
        return None
    constants = [term for term in expr[1:] if _bare(term) in letters]
    rest = tuple(term for term in expr[1:] if term not in constants)
    if len(constants) != 1 or not rest or _bare(constants[0]) in free_symbols(("add", *rest)):
        return None
    return ("add", *rest)


def _bare(term: Node) -> str:
    term = term[1] if term[0] == "neg" else term
    return str(term[1]) if term[0] == "sym" else ""


def _period(expr: Node) -> tuple[Node, Node] | None:
    """Where a progression in one whole letter begins, and its step; None for what is no multiple of pi or degrees."""
    names = free_symbols(expr)
    if len(names) != 1 or not names <= _INTEGERS:
        return None
    (name,) = names
    at: list[Node] = [substituted(expr, {name: num(number)}) for number in range(3)]
    step: Node = ("add", at[1], ("neg", at[0]))
    twice: Node = ("add", at[2], ("neg", at[0]))
    if numeric.same(twice, ("mul", num(2), step)) is not True or numeric.same(step, num(0)) is True:
        return None
    return substituted(expr, {name: num(0)}), step
