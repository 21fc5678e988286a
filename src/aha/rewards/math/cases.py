"""Functions by cases, compared by their values at many points: the same function may be cut differently."""

from __future__ import annotations

from fractions import Fraction

from aha.rewards.math import numeric
from aha.rewards.math.families import substituted, symbols
from aha.rewards.math.ratios import all_of
from aha.rewards.math.values import Named, Node, Piecewise, Region, Scalar, Value, num

_POINTS = (*range(-6, 7), *(Fraction(n, 7) for n in (-45, -31, -18, -11, -4, -2, 1, 3, 5, 9, 13, 20, 33, 47)))


def same_cases(gold: Value, answer: Value) -> bool | None:
    """Whether two functions of one variable, of which one is given by cases, agree at all the points."""
    gold, answer = _unnamed(gold), _unnamed(answer)
    variables = _variables(gold) | _variables(answer)
    if len(variables) != 1:
        return None
    variable = variables.pop()
    for point in _points(gold, answer):
        first, second = _at(gold, variable, point), _at(answer, variable, point)
        if first is None or second is None:
            return None
        if bool(first) != bool(second):
            return False  # only one of them is defined there
        outcome = all_of(numeric.same(x, y) for x in first for y in second)
        if outcome is not True:
            return outcome
    return True


def _unnamed(value: Value) -> Value:
    return value.value if isinstance(value, Named) else value


def _variables(value: Value) -> set[str]:
    if not isinstance(value, Piecewise):
        return set(symbols(value))
    letters: set[str] = set()
    for branch, condition in value.cases:
        letters |= symbols(branch) | ({condition.variable} if isinstance(condition, Region) else set())
    return letters


def _points(*values: Value) -> list[Fraction]:
    """The usual points, and both sides of wherever a case ends."""
    ends = [
        end[1]
        for value in values
        if isinstance(value, Piecewise)
        for _, condition in value.cases
        if isinstance(condition, Region)
        for part in condition.parts
        for end in (part.low, part.high)
        if end[0] == "num"
    ]
    near = [end + step for end in ends[:40] for step in (Fraction(-1, 9), Fraction(0), Fraction(1, 9))]
    return [*map(Fraction, _POINTS), *near]


def _at(value: Value, variable: str, point: Fraction) -> list[Node] | None:
    """The values at a point as constants, of all the cases that hold there; None if that is not known."""
    if isinstance(value, Scalar):
        return [substituted(value.expr, {variable: num(point)})]
    if not isinstance(value, Piecewise):
        return None
    nodes: list[Node] = []
    for branch, condition in value.cases:
        if condition is None and nodes:
            break  # "otherwise"
        holds = True if condition is None else _holds(condition, point)
        there = _at(branch, variable, point) if holds else []
        if holds is None or there is None:
            return None
        nodes += there
    return nodes


def _holds(condition: Value, point: Fraction) -> bool | None:
    if not isinstance(condition, Region):
        return None
    for part in condition.parts:
        low, high = numeric.real_value(part.low), numeric.real_value(part.high)
        if low is None or high is None:
            return None
        x = numeric.real_value(num(point))
        if (low < x or (part.closed_low and low == x)) and (x < high or (part.closed_high and x == high)):
            return True
    return False
