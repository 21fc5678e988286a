"""Equations as the zeros of one expression, inequalities, and sets of reals."""

from __future__ import annotations

from aha.rewards.math import numeric, regions
from aha.rewards.math.exact import free_symbols, has
from aha.rewards.math.ratios import all_of
from aha.rewards.math.values import (
    Collection,
    Equation,
    Named,
    Node,
    Opaque,
    Region,
    Relation,
    Scalar,
    Text,
    Value,
)
from aha.rewards.math.words import says_all_reals

MOST_PARAMETERS = 4
"""Letters that an equation may be multiplied with, as they are tried."""


def same_region(gold: Region, answer: Value) -> bool | None:
    """An interval, a union or an inequality, and every other way to write the same set of reals."""
    if isinstance(answer, Named):
        answer = answer.value
    other = regions.of(answer) or regions.listed(answer)
    if isinstance(answer, Text) and says_all_reals(answer.words):
        other = regions.REALS
    if isinstance(answer, Text) and other is None:
        other = regions.named_in_words(answer.words)
    if other is None and isinstance(answer, Collection) and answer.kind == "set" and answer.items:
        listed = regions.union([answer])  # {1, 2, 3} for a union of sets
        other = listed if isinstance(listed, Region) else None
    if other is None:
        if isinstance(answer, Collection) and answer.kind == "set" and not answer.items:
            return not regions.normal(gold).parts
        return None if isinstance(answer, Opaque) else False
    if gold.variable and other.variable and gold.variable != other.variable:
        return False
    return regions.is_same(gold, other)


def same_relation(gold: Relation, answer: Value) -> bool | None:
    """An inequality that is not solved: equal sides, or sides multiplied by a positive constant."""
    if not isinstance(answer, Relation) or gold.ops != answer.ops:
        return False
    direct = all_of(numeric.same(x, y) for x, y in zip(gold.members, answer.members, strict=True))
    if direct is not False or len(gold.ops) != 1 or not any(map(free_symbols, gold.members)):
        return direct
    left = ("add", gold.members[0], ("neg", gold.members[1]))
    right = ("add", answer.members[0], ("neg", answer.members[1]))
    return numeric.proportional(left, right, positive=gold.ops[0] != "!=")


def difference(value: Value) -> Node | None:
    """Left side less right side, of what has two sides that are expressions."""
    if (
        isinstance(value, Named)
        and isinstance(value.value, Scalar)
        and not value.name.startswith(("text", "("))
    ):
        left: Node = ("sym", value.name)
        if value.parameter:
            return None
        return ("add", left, ("neg", value.value.expr))
    if isinstance(value, Equation) and len(value.members) == 2:
        left_side, right_side = value.members
        if isinstance(left_side, Scalar) and isinstance(right_side, Scalar):
            return ("add", left_side.expr, ("neg", right_side.expr))
    return None


def same_zeros(a: Node | None, b: Node | None) -> bool | None:
    """Whether two differences of sides are one equation. Constants are none."""
    if a is None or b is None:
        return False
    if free_symbols(a) != free_symbols(b) or not free_symbols(a):
        return False
    multiple = numeric.proportional(a, b)
    return True if multiple is False and _same_rates(a, b) else multiple


def _same_rates(a: Node, b: Node) -> bool:
    """Whether two differential equations are one, multiplied by a parameter: what a rate of change is multiplied with
    (a mass, an inertia) is no zero. Of other equations the zeros of a letter count: ``x^2 = x`` is not ``x = 1``."""
    moving = _moving(a) & _moving(b)
    if not moving:
        return False
    parameters = sorted(free_symbols(a) - moving)[:MOST_PARAMETERS]
    return any(
        numeric.proportional(*sides) is True
        for letter in parameters
        for sides in ((a, ("mul", ("sym", letter), b)), (("mul", ("sym", letter), a), b))
    )


def _moving(node: Node) -> frozenset[str]:
    """The letters of all derivatives in an expression (``dx/dt``, dots, primes): what changes, and by what."""
    if node[0] == "sym":
        name = str(node[1])
        plain = name.rstrip("'").rpartition(" ")[2]
        dotted = name.startswith(("dot ", "ddot ")) or name.endswith("'")
        return frozenset((name, plain, "t", "x", "y")) if dotted else frozenset()
    letters = [_moving(part) for part in node[1:] if isinstance(part, tuple)]
    if node[0] == "div" and all("d" in free_symbols(side) for side in node[1:]):
        letters.append(free_symbols(node))
    return frozenset().union(*letters)


def is_derivative(node: Node) -> bool:
    """Whether it is ``dy/dx`` or the like, which names what an equation gives."""
    if node[0] != "div":
        return False
    below = node[2][1] if node[2][0] == "mul" else node[2]
    above = node[1][1] if node[1][0] == "mul" else node[1]
    return above == below and above in (("sym", "d"), ("sym", "partial"))


def has_coefficients(value: Value) -> bool:
    """Whether numbers stand in it: "2x + z" is an equation's side, "AB / CD" the name of a quantity."""
    return isinstance(value, Scalar) and has(value.expr, frozenset(("num",)))


def renamed(value: Value, old: str, new: str) -> Value:
    """The value with another letter for its parameter, if that letter is free."""
    if not isinstance(value, Scalar) or new in free_symbols(value.expr):
        return value
    return Scalar(_substituted(value.expr, old, new), value.unit, value.percent)


def _substituted(node: Node, old: str, new: str) -> Node:
    if node == ("sym", old):
        return ("sym", new)
    return tuple(_substituted(part, old, new) if isinstance(part, tuple) else part for part in node)
