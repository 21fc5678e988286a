"""Exact rational values of expressions, with every growth bounded before it happens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from aha.rewards.math.values import Node

MOST_BITS = 50_000
LARGEST_FACTORIAL = 2_000


class TooBig(Exception):
    """A value beyond what is worth computing."""


class Undefined(Exception):
    """A value that does not exist, such as 1/0."""


def rational(node: Node, values: Mapping[str, Fraction] | None = None) -> Fraction | None:
    """The expression's exact value if it is rational by its form; None if it is not of such a form.

    ``values`` stand for symbols. Raises TooBig and Undefined.
    """
    op = node[0]
    if op == "num":
        return node[1]
    if op == "sym":
        return values.get(node[1]) if values else None
    if op == "neg":
        value = rational(node[1], values)
        return None if value is None else -value
    rule = _RULES.get(op)
    return rule(node, values) if rule else None


def rational_or_none(node: Node, values: Mapping[str, Fraction] | None = None) -> Fraction | None:
    """``rational``, and None where the value is too big to be made or does not exist."""
    try:
        return rational(node, values)
    except (TooBig, Undefined):
        return None


def free_symbols(node: Node) -> frozenset[str]:
    """The names of the expression's variables (constants such as pi are none)."""
    return frozenset(_names(node) - CONSTANTS)


CONSTANTS = frozenset(("pi", "e", "i"))


def has(node: Node, operators: frozenset[str]) -> bool:
    """Whether any of the operators occurs in the expression."""
    stack = [node]
    while stack:
        current = stack.pop()
        if current[0] in operators:
            return True
        stack.extend(part for part in current[1:] if isinstance(part, tuple))
    return False


def has_steps(node: Node) -> bool:
    """Whether the expression rounds anything to whole numbers."""
    stack = [node]
    while stack:
        current = stack.pop()
        if current[0] == "call" and current[1] in ("floor", "ceil"):
            return True
        stack.extend(part for part in current[1:] if isinstance(part, tuple))
    return False


def size(node: Node) -> int:
    """The number of operators and leaves."""
    count, stack = 0, [node]
    while stack:
        count += 1
        stack.extend(part for part in stack.pop()[1:] if isinstance(part, tuple))
    return count


def _all(parts, values) -> list[Fraction] | None:
    fractions: list[Fraction] = []
    for part in parts:
        value = rational(part, values)
        if value is None:
            return None
        fractions.append(value)
    return fractions


def _checked(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > MOST_BITS:
        raise TooBig
    return value


def _add(node: Node, values) -> Fraction | None:
    parts = _all(node[1:], values)
    if parts is None:
        return None
    total = Fraction(0)
    for part in parts:
        total = _checked(total + part)
    return total


def _mul(node: Node, values) -> Fraction | None:
    parts = _all(node[1:], values)
    if parts is None:
        return None
    product = Fraction(1)
    for part in parts:
        product = _checked(product * part)
    return product


def _div(node: Node, values) -> Fraction | None:
    parts = _all(node[1:], values)
    if parts is None:
        return None
    if parts[1] == 0:
        raise Undefined
    return _checked(parts[0] / parts[1])


def _pow(node: Node, values) -> Fraction | None:
    parts = _all(node[1:], values)
    if parts is None:
        return None
    base, exponent = parts
    if exponent.denominator != 1:
        if exponent.denominator > 1000 or base < 0:
            return None
        base_root = perfect_root(base, exponent.denominator)
        if base_root is None:
            return None
        base, exponent = base_root, Fraction(exponent.numerator)
    if base == 0 and exponent <= 0:
        raise Undefined
    if base in (0, 1, -1):
        return base if exponent.numerator % 2 or base == 0 else base * base
    bits = base.numerator.bit_length() + base.denominator.bit_length()
    if bits * abs(exponent.numerator) > MOST_BITS:
        raise TooBig
    return base**exponent.numerator


def perfect_root(value: Fraction, degree: int) -> Fraction | None:
    """The exact root of a rational number, or None if it is irrational."""
    if value < 0:
        if degree % 2 == 0:
            return None
        root = perfect_root(-value, degree)
        return None if root is None else -root
    above, below = _integer_root(value.numerator, degree), _integer_root(value.denominator, degree)
    return None if above is None or below is None else Fraction(above, below)


def _integer_root(value: int, degree: int) -> int | None:
    if degree == 2:
        root = math.isqrt(value)
        return root if root * root == value else None
    if value < 2 or degree == 1:
        return value
    if degree > value.bit_length():
        return None
    low, high = 1, 1 << (value.bit_length() // degree + 1)
    while low < high:
        middle = (low + high + 1) // 2
        if middle**degree <= value:
            low = middle
        else:
            high = middle - 1
    return low if low**degree == value else None


def _root(node: Node, values) -> Fraction | None:
    parts = _all(node[1:], values)
    if parts is None:
        return None
    value, degree = parts
    if degree.denominator != 1 or not 1 <= degree <= 1000 or value.numerator.bit_length() > 5_000:
        return None
    return perfect_root(value, int(degree))


def _fact(node: Node, values) -> Fraction | None:
    value = rational(node[1], values)
    if value is None or value.denominator != 1:
        return None
    if value < 0:
        raise Undefined
    if value > LARGEST_FACTORIAL:
        raise TooBig
    return Fraction(math.factorial(int(value)))


def _double_factorial(node: Node, values) -> Fraction | None:
    value = rational(node[1], values)
    if value is None or value.denominator != 1:
        return None
    if value < 0:
        raise Undefined
    if value > LARGEST_FACTORIAL:
        raise TooBig
    return Fraction(math.prod(range(int(value), 0, -2)))


def _binom(node: Node, values) -> Fraction | None:
    parts = _all(node[1:], values)
    if (
        parts is None
        or parts[0].denominator != 1
        or parts[1].denominator != 1
        or parts[0] < 0
        or parts[1] < 0
    ):
        return None
    n, k = int(parts[0]), int(parts[1])
    if min(k, n - k) * n.bit_length() > MOST_BITS:
        raise TooBig
    return _checked(Fraction(math.comb(n, k)))


def _abs(node: Node, values) -> Fraction | None:
    value = rational(node[1], values)
    return None if value is None else abs(value)


def _call(node: Node, values) -> Fraction | None:
    if node[1] not in ("floor", "ceil"):
        return None
    value = rational(node[2], values)
    if value is None:
        return None
    return Fraction(math.floor(value) if node[1] == "floor" else math.ceil(value))


_RULES = {
    "add": _add,
    "mul": _mul,
    "div": _div,
    "pow": _pow,
    "root": _root,
    "fact": _fact,
    "double_fact": _double_factorial,
    "binom": _binom,
    "abs": _abs,
    "call": _call,
}


def constants_in(node: Node) -> set[str]:
    """The constants (pi, e, i) that occur in an expression."""
    return _names(node) & CONSTANTS


def _names(node: Node) -> set[str]:
    """Of all symbols in an expression."""
    names: set[str] = set()
    stack = [node]
    while stack:
        current = stack.pop()
        if current[0] == "sym":
            names.add(current[1])
        stack.extend(part for part in current[1:] if isinstance(part, tuple))
    return names
