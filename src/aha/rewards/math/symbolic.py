"""Comparison by sympy. Imported in worker processes only."""

from __future__ import annotations

import importlib.util
from typing import Any

from aha.rewards.math.exact import has
from aha.rewards.math.expressions import Unknown
from aha.rewards.math.parse import parse_value
from aha.rewards.math.tokens import Unreadable, tokenize
from aha.rewards.math.values import STATED, Named, Node, Scalar, Value

_GROUPING = frozenset("(){}[]*,")
_HAS_MATH_VERIFY = importlib.util.find_spec("math_verify") is not None
MISSING = "the answer needs a LaTeX grammar that is not installed (pip install math-verify)"


def warm_up() -> None:
    """Loads what a confined child can no longer load."""
    import sympy

    x = sympy.Symbol("x")
    sympy.simplify(sympy.sin(x) ** 2 + sympy.cos(x) ** 2 - 1)
    sympy.integrate(x**2, (x, 0, 1))
    sympy.summation(x, (x, 1, 10))
    sympy.limit(sympy.sin(x) / x, x, 0)
    sympy.N(sympy.sqrt(2), 30)
    if _HAS_MATH_VERIFY:
        by_math_verify(r"\oint x", r"\frac{1}{2}")


def compare(gold: str, answer: str) -> tuple[str, str]:
    """(outcome, note) for two answers."""
    ours = _by_our_grammar(gold, answer)
    if ours is not None:
        return ("correct" if ours else "wrong"), "decided by sympy"
    if not _HAS_MATH_VERIFY:
        return "unknown", MISSING
    theirs = by_math_verify(gold, answer)
    if theirs and not _are_made_alike(gold, answer):
        theirs = None  # it reads past what it does not know
    if theirs is None:
        return "unknown", "the answer is in no known grammar"
    return ("correct" if theirs else "wrong"), "decided by math-verify"


def _are_made_alike(gold: str, answer: str) -> bool:
    """Whether two answers are made of the same numerals, letters and signs, in whatever order and brackets."""
    try:
        one, other = (
            sorted(t.text for t in tokenize(each) if t.text not in _GROUPING) for each in (gold, answer)
        )
    except Unreadable:
        return False
    return one == other


def _by_our_grammar(gold: str, answer: str) -> bool | None:
    try:
        left, right = _expression(parse_value(gold)), _expression(parse_value(answer))
        if left is None or right is None or (has(right, STATED) and not has(left, STATED)):
            return None
        return _equal(convert(left), convert(right))
    except (Unreadable, Unknown, NotImplementedError, TypeError, ValueError, AttributeError):
        return None


def _expression(value: Value) -> Node | None:
    if isinstance(value, Named):
        value = value.value
    return value.expr if isinstance(value, Scalar) and value.unit is None and not value.percent else None


def _equal(a: Any, b: Any) -> bool | None:
    import sympy

    difference = sympy.expand(a.doit() - b.doit())
    if difference == 0:
        return True
    if difference.is_number:
        value = sympy.N(difference, 40)
        return None if not value.is_number else bool(abs(value) < sympy.Float(10) ** -30)
    if sympy.simplify(difference) == 0:
        return True
    names = sorted(difference.free_symbols, key=str)
    for start in (2, 3, 5):
        point = {name: sympy.Rational(start * 7 + 3 * index, 11) for index, name in enumerate(names)}
        value = sympy.N(difference.subs(point), 30)
        if value.is_number and abs(value) > sympy.Float(10) ** -20:
            return False
    return None


def convert(node: Node, bound: frozenset[str] = frozenset()) -> Any:
    """Our expression as sympy's. Raises NotImplementedError for what has no counterpart."""
    import sympy

    op = node[0]
    if op == "num":
        return sympy.Rational(node[1].numerator, node[1].denominator)
    if op == "sym":
        constants = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I}
        return constants[node[1]] if node[1] in constants and node[1] not in bound else sympy.Symbol(node[1])
    if op == "inf":
        return sympy.oo
    if op in ("sum", "prod", "int", "lim"):
        return _stated(node, bound)
    if op == "call":
        return _call(node[1], convert(node[2], bound))
    parts = [convert(part, bound) for part in node[1:] if isinstance(part, tuple)]
    return _operator(op, parts)


def _operator(op: str, parts: list[Any]) -> Any:
    import sympy

    if op == "add":
        return sympy.Add(*parts)
    if op == "mul":
        return sympy.Mul(*parts)
    if op == "neg":
        return -parts[0]
    if op == "div":
        return parts[0] / parts[1]
    if op == "pow":
        return sympy.Pow(parts[0], parts[1])
    if op == "root":
        return sympy.root(parts[0], parts[1])
    if op == "log":
        return sympy.log(parts[1], parts[0])
    if op == "fact":
        return sympy.factorial(parts[0])
    if op == "double_fact":
        return sympy.factorial2(parts[0])
    if op == "binom":
        return sympy.binomial(parts[0], parts[1])
    if op == "abs":
        return sympy.Abs(parts[0])
    raise NotImplementedError(op)


def _call(name: str, argument: Any) -> Any:
    import sympy

    if name == "log":
        return sympy.log(argument, 10)
    names = {"ln": "log", "ceil": "ceiling"}
    name = names.get(name, name.replace("arc", "a"))
    return getattr(sympy, name)(argument)


def _stated(node: Node, bound: frozenset[str]) -> Any:
    import sympy

    op, variable, body, *limits = node
    if not variable:
        raise NotImplementedError(op)
    bound = bound | {variable}
    symbol, inner = sympy.Symbol(variable), convert(body, bound)
    ends = [convert(limit, bound) for limit in limits]
    if op == "lim" and len(ends) == 1:
        return sympy.Limit(inner, symbol, ends[0])
    if len(ends) != 2:
        raise NotImplementedError(op)
    kinds = {"sum": sympy.Sum, "prod": sympy.Product, "int": sympy.Integral}
    return kinds[op](inner, (symbol, *ends))


def by_math_verify(gold: str, answer: str) -> bool | None:
    """math-verify's opinion; None if it cannot read one of the two."""
    import logging

    from math_verify import LatexExtractionConfig, parse, verify  # type: ignore[import-not-found]

    logging.disable(logging.CRITICAL)
    config = [LatexExtractionConfig()]
    try:
        left = parse(f"${gold}$", extraction_config=config, parsing_timeout=None, raise_on_error=False)  # pyright: ignore
        right = parse(f"${answer}$", extraction_config=config, parsing_timeout=None, raise_on_error=False)  # pyright: ignore
        if not left or not right or all(isinstance(v, str) for v in left + right):
            return None
        return bool(verify(left, right, timeout_seconds=None, raise_on_error=False))
    except Exception:  # a foreign library on foreign text: whatever it raises, it did not decide
        return None
