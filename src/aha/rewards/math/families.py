"""Families of answers: the same family with other letters for what may be any number.

``C_1 e^x + C_2 e^{-x}`` and ``A e^x + B e^{-x}``, ``f(x) = cx`` and ``f(x) = kx``, ``(t, -t)`` and ``(k, -k)``,
``\\frac{\\pi}{4} + k\\pi`` and ``\\frac{\\pi}{4} + n\\pi``. A letter that both sides write stays what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import permutations

from aha.rewards.math.exact import free_symbols
from aha.rewards.math.values import Collection, Equation, Matrix, Named, Node, Region, Scalar, Value

Equal = Callable[[Value, Value], bool | None]
MOST_LETTERS = 4
_LETTER = re.compile(r"[A-Za-z](?:_[0-9])?\Z|alpha\Z|beta\Z|lambda\Z|mu\Z")
_NUMBERED = re.compile(r"[CcKkAaBb]_[0-9]\Z")
_CONSTANT = re.compile(r"[A-DKck](?:_[0-9])?\Z")
_COORDINATE = re.compile(r"[xyzw](?:_?[0-9])?\Z")
_INTEGERS = frozenset("jklmn")


def same_family(gold: Value, answer: Value, equal: Equal) -> bool:
    """Whether the answer is the gold with other letters for its arbitrary constants or parameters."""
    return any(equal(gold, renamed(answer, leaves)) is True for leaves in _renamings(gold, answer))


def symbols(value: Value) -> frozenset[str]:
    """The variables that occur anywhere in a value, without the names it is given."""
    if isinstance(value, Scalar):
        return free_symbols(value.expr)
    if isinstance(value, Named):
        return symbols(value.value) - {value.parameter}
    if isinstance(value, Collection | Equation):
        parts = value.items if isinstance(value, Collection) else value.members
        return frozenset().union(*map(symbols, parts))
    if isinstance(value, Matrix):
        return frozenset().union(*(free_symbols(cell) for row in value.rows for cell in row))
    if isinstance(value, Region):
        ends = [free_symbols(end) for part in value.parts for end in (part.low, part.high)]
        return frozenset().union(*ends)
    return frozenset()


def substituted(node: Node, leaves: Mapping[str, Node]) -> Node:
    """The expression with other leaves for some of its symbols, all at once."""
    if node[0] == "sym":
        return leaves.get(node[1], node)
    return tuple(substituted(part, leaves) if isinstance(part, tuple) else part for part in node)


def renamed(value: Value, leaves: Mapping[str, Node]) -> Value:
    """The value with other leaves for some of its letters, all at once."""
    if isinstance(value, Scalar):
        return Scalar(substituted(value.expr, leaves), value.unit, value.percent)
    if isinstance(value, Named):
        return Named(value.name, renamed(value.value, leaves), value.parameter, value.approximate)
    if isinstance(value, Collection):
        items = tuple(renamed(item, leaves) for item in value.items)
        return Collection(value.kind, items, value.brackets, value.joined_by_or)
    if isinstance(value, Matrix):
        return Matrix(tuple(tuple(substituted(cell, leaves) for cell in row) for row in value.rows))
    if isinstance(value, Equation):
        return Equation(tuple(renamed(member, leaves) for member in value.members), value.shown)
    return value


def _renamings(gold: Value, answer: Value) -> Iterator[dict[str, Node]]:
    gold_letters, answer_letters = symbols(gold), symbols(answer)
    ours, theirs = sorted(gold_letters - answer_letters), sorted(answer_letters - gold_letters)
    if _has_parameters(gold) and _has_parameters(answer):
        if len(ours) == len(theirs) <= 2 and all(map(_LETTER.match, (*ours, *theirs))):
            yield from _pairings(ours, theirs)
        numbered = _numbered(gold_letters)
        if isinstance(gold, Matrix) and not ours and not theirs and len(numbered) <= MOST_LETTERS:
            yield from _pairings(numbered, numbered)
        return
    gold_letters, answer_letters = (symbols(v.value if isinstance(v, Named) else v) for v in (gold, answer))
    if ours and len(ours) == len(theirs) == 1 and {*ours, *theirs} <= _INTEGERS:
        if not gold_letters & answer_letters and all(_mentions_pi(value) for value in (gold, answer)):
            yield {theirs[0]: ("sym", ours[0])}
        return
    yield from _of_constants(gold, answer, gold_letters, answer_letters)


def _pairings(ours: list[str], theirs: list[str]) -> Iterator[dict[str, Node]]:
    if ours:
        for order in permutations(ours):
            yield {old: ("sym", new) for old, new in zip(theirs, order, strict=True)}


def _of_constants(
    gold: Value, answer: Value, gold_letters: frozenset[str], answer_letters: frozenset[str]
) -> Iterator[dict[str, Node]]:
    """Arbitrary constants: numbered ones against any that are as many, or one that is only added."""
    ours, theirs = _numbered(gold_letters), _numbered(answer_letters)
    whole = isinstance(gold, Equation) or isinstance(answer, Equation)
    if not ours and not theirs:
        ours, theirs = _added(gold), _added(answer)
        if not ours or not theirs:
            ours, theirs = (
                _alone(gold, gold_letters - answer_letters),
                _alone(answer, answer_letters - gold_letters),
            )
            if not (_solved(gold) and _solved(answer)):  # y = x + C against x + c
                alike = [letter.lower() for letter in ours] == [letter.lower() for letter in theirs]
                ours, theirs = (ours, theirs) if alike and (_solved(gold) or _solved(answer)) else ([], [])
    elif not ours or not theirs:  # "C_1, C_2" against "A, B"
        free = _CONSTANT.match
        ours = ours or sorted(filter(free, gold_letters - answer_letters))
        theirs = theirs or sorted(filter(free, answer_letters - gold_letters))
    rest = gold_letters - set(ours)
    if rest and rest == answer_letters - set(theirs) and len(ours) == len(theirs) <= MOST_LETTERS:
        yield from _pairings(ours, theirs)
        if whole and len(ours) == 1:  # x - y = C is y - x = k
            yield {theirs[0]: ("neg", ("sym", ours[0]))}


def _numbered(names: frozenset[str]) -> list[str]:
    return sorted(filter(_NUMBERED.match, names))


def _added(value: Value) -> list[str]:
    """The one constant that stands as a term of its own, as in ``x^2 + C`` or ``x y = C``."""
    inner = value.value if isinstance(value, Named) else value
    sides = inner.members if isinstance(inner, Equation) else (inner,)
    if len(sides) > 2 or not all(isinstance(side, Scalar) for side in sides):
        return []
    exprs = [side.expr for side in sides if isinstance(side, Scalar)]
    terms = [term for expr in exprs for term in (expr[1:] if expr[0] == "add" else (expr,))]
    names = [str(term[1]) for term in terms if term[0] == "sym" and _CONSTANT.match(str(term[1]))]
    if len(names) != 1 or len(terms) < 2:
        return []
    others = ("add", *(term for term in terms if term != ("sym", names[0])))
    return [] if names[0] in free_symbols(others) else names


def _alone(value: Value, others: frozenset[str]) -> list[str]:
    """The one letter that the other side does not write, if it is the constant of a solution ``y = ...``."""
    names = sorted(filter(_CONSTANT.match, others))
    is_solution = _solved(value) or isinstance(value, Scalar)
    return names if len(names) == len(others) == 1 and is_solution else []


def _solved(value: Value) -> bool:
    """Whether it is told as a solution for y."""
    return isinstance(value, Named) and value.name == "y"


def _has_parameters(value: Value) -> bool:
    """A tuple, a column, coordinates by name, a function, or several of these."""
    if isinstance(value, Matrix):
        cells = len(value.rows) * len(value.rows[0])
        return 1 in (len(value.rows), len(value.rows[0])) and len(symbols(value)) < cells
    if _are_coordinates(value):
        return True
    if isinstance(value, Named):
        return bool(value.parameter) or _has_parameters(value.value)
    if isinstance(value, Collection):
        return value.kind == "tuple" or (bool(value.items) and all(map(_has_parameters, value.items)))
    return False


def _are_coordinates(value: Value) -> bool:
    """``x = 1 + 3t, y = 2 + 4t``: two or more coordinates that all have names of their own."""
    if not isinstance(value, Collection) or value.kind != "list" or len(value.items) < 2:
        return False
    names = [item.name for item in value.items if isinstance(item, Named)]
    distinct = len(names) == len(value.items) == len(set(names)) and all(map(_COORDINATE.match, names))
    return distinct and len(symbols(value)) < len(
        names
    )  # with as many letters each could be a number that is known


def _mentions_pi(value: Value) -> bool:
    if isinstance(value, Named):
        return _mentions_pi(value.value)
    if isinstance(value, Collection):
        return bool(value.items) and all(map(_mentions_pi, value.items))
    return isinstance(value, Scalar) and "pi" in str(value.expr)
