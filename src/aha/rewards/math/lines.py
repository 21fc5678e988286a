"""Vectors as sums, and lines in parametric form: ``(1,2) + t(3,4)``, ``\\mathbf{a} + t\\mathbf{b}``."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from aha.rewards.math.exact import free_symbols, rational_or_none
from aha.rewards.math.expressions import Unknown, parse_expression
from aha.rewards.math.families import renamed
from aha.rewards.math.slices import matches, split, trimmed
from aha.rewards.math.tokens import Token, Unreadable, tokenize
from aha.rewards.math.values import Collection, Matrix, Named, Node, Scalar, Value

Equal = Callable[[Value, Value], bool | None]
_Rows = tuple[tuple[Node, ...], ...]
_PARAMETERS = frozenset("s t u v r k alpha beta gamma lambda mu".split())  # noqa: SIM905
_FACTORS = frozenset("s t k c lambda mu alpha beta".split())  # noqa: SIM905
_MARKED = r"\\(?:mathbf|vec|boldsymbol|bm|overrightarrow|mathbf\s*\{\\?vec)\s*\{?\s*"
_MOST_TERMS = 6
_LIMITING = frozenset(("<", ">", "<=", ">=", "!=", "ℤ", "ℕ", "ℚ", "Z", "N"))
_MATRICES = frozenset(("begin pmatrix", "begin bmatrix", "begin matrix", "begin Bmatrix"))


def combination(tokens: list[Token]) -> Value | None:
    """A sum of vectors with factors, worked out: ``(1,2) + t(3,4)`` as ``(1+3t, 2+4t)``. None for all else."""
    if not any(t.text in ("(", "langle") or t.text in _MATRICES for t in tokens):
        return None
    terms = _terms(tokens)
    if terms is None:
        return None
    read = [_scaled_vector(term, len(terms) == 1) for term, _ in terms]
    vectors = [vector for vector in read if vector is not None]
    if len(vectors) < len(read) or (len(vectors) == 1 and vectors[0][0] is None):
        return None
    shapes = {(len(rows), len(rows[0])) for _, rows, _ in vectors}
    if len(shapes) != 1 or (len(vectors) == 1 and vectors[0][2]):
        return None  # one matrix with a factor is read elsewhere
    signs = [sign for _, sign in terms]
    height, width = shapes.pop()
    cells = tuple(
        tuple(
            ("add", *(_cell(vector, sign, y, x) for vector, sign in zip(vectors, signs, strict=True)))
            for x in range(width)
        )
        for y in range(height)
    )
    if all(is_matrix for _, _, is_matrix in vectors):
        return Matrix(cells)
    column = [row[0] for row in cells] if width == 1 else list(cells[0])
    return Collection("tuple", tuple(map(Scalar, column)), "()")


def same_line(reference: str, gold: Value, answer: Value, equal: Equal) -> bool:
    """Whether the answer is the line of a reference that is a sum of vectors, with another parameter.

    The parameter has another name there, since with the same one it could be the place at a time.
    """
    gold, answer = _unnamed(gold), _unnamed(answer)
    if isinstance(gold, Scalar) and isinstance(answer, Scalar):
        return _same_marked(reference, gold, answer, equal)
    if not _is_unlimited_sum(reference):
        return False
    one, other = _line(gold), _line(answer)
    if one is None or other is None or one[0] == other[0]:
        return False
    (_, point, direction), (_, through, along) = one, other
    if len(point) != len(through):
        return False
    between = tuple(b - a for a, b in zip(point, through, strict=True))
    return _are_parallel(direction, along) and _are_parallel(direction, between)


def _terms(tokens: list[Token]) -> list[tuple[list[Token], int]] | None:
    """The terms of a sum with their signs."""
    try:
        pieces, signs = split(tokens, matches(tokens), {"+", "-"})
    except Unreadable:
        return None
    if not trimmed(pieces[0]) and signs:
        pieces = pieces[1:]
    else:
        signs = ["+", *signs]
    if len(pieces) > _MOST_TERMS or not all(map(trimmed, pieces)):
        return None
    return [(trimmed(piece), -1 if sign == "-" else 1) for piece, sign in zip(pieces, signs, strict=True)]


def _scaled_vector(term: list[Token], alone: bool) -> tuple[Node | None, _Rows, bool] | None:
    """The factor of a vector, the vector, and whether it is set as a matrix."""
    start = next((i for i, t in enumerate(term) if t.text in _MATRICES), -1)
    is_matrix = start >= 0
    if is_matrix:
        end = next((i for i, t in enumerate(term) if t.text == f"end {term[start].text[6:]}"), -1)
        pieces = split(term[start + 1 : end], {}, {"newline"})[0]
        rows = [split(row, matches(row), {"and", "&"})[0] for row in pieces if trimmed(row)]
    else:
        match = matches(term)
        end = len(term) - 1
        start = next((i for i, last in match.items() if last == end), -1)
        if start < 0 or (term[start].text, term[end].text) not in (("(", ")"), ("langle", "rangle")):
            return None
        inside = term[start + 1 : end]
        rows = [[entry] for entry in split(inside, matches(inside), {","})[0]]
    if end < 0 or not rows or (len(rows) < 2 and len(rows[0]) < 2) or len({len(row) for row in rows}) != 1:
        return None
    before = trimmed(term[:start] + term[end + 1 :])
    try:
        cells = tuple(tuple(parse_expression(trimmed(cell)) for cell in row) for row in rows)
        factor = parse_expression(before) if before else None
    except (Unknown, Unreadable):
        return None
    letters = free_symbols(factor) if factor is not None else frozenset()
    is_factor = letters <= _FACTORS if alone else (is_matrix or all(map(_may_be_factor, letters)))
    return (factor, cells, is_matrix) if is_factor else None


def _may_be_factor(letter: str) -> bool:
    """Whether a letter before ``(1, 2)`` is a number rather than a function or a point."""
    return (letter[0].islower() or "_" in letter) and letter[0] not in "fgh"


def _cell(vector: tuple[Node | None, _Rows, bool], sign: int, y: int, x: int) -> Node:
    factor, rows, _ = vector
    value = rows[y][x] if factor is None else ("mul", factor, rows[y][x])
    return ("neg", value) if sign < 0 else value


def _unnamed(value: Value) -> Value:
    while isinstance(value, Named) and not value.parameter:
        value = value.value
    return value


def _same_marked(reference: str, gold: Scalar, answer: Scalar, equal: Equal) -> bool:
    """``\\vec{a} + t\\vec{b}`` with another letter for t, which is no vector itself."""
    if re.search(_MARKED, reference) is None:
        return False
    ours = free_symbols(gold.expr) - free_symbols(answer.expr)
    theirs = free_symbols(answer.expr) - free_symbols(gold.expr)
    if len(ours) != 1 or len(theirs) != 1 or not ours | theirs <= _PARAMETERS:
        return False
    (old,), (new,) = theirs, ours
    if re.search(_MARKED + rf"\\?(?:{old}|{new})(?![A-Za-z])", reference):
        return False
    return equal(gold, renamed(answer, {old: ("sym", new)})) is True


def _is_unlimited_sum(reference: str) -> bool:
    """Whether a reference is a sum of vectors whose parameter is any real number."""
    try:
        tokens = tokenize(reference)
    except Unreadable:
        return False
    if any(
        t.text in _LIMITING or (t.kind == "word" and t.text.lower().startswith(("int", "整", "whole")))
        for t in tokens
    ):
        return False
    after = [tokens[i + 1].text for i, t in enumerate(tokens[:-1]) if t.text == "in"]
    if any(text not in ("ℝ", "R") for text in after):
        return False
    ends = [i for i, t in enumerate(tokens[:-1]) if t.text in (")", "rangle") or t.text.startswith("end ")]
    return any(tokens[i + 1].text in "+-" for i in ends)


def _line(value: Value) -> tuple[str, tuple[Fraction, ...], tuple[Fraction, ...]] | None:
    """The parameter, a point and the direction of a line; None for what is not plainly one."""
    if isinstance(value, Collection) and value.kind == "tuple":
        cells = [item.expr for item in value.items if isinstance(item, Scalar)]
        whole = len(cells) == len(value.items)
    elif isinstance(value, Matrix):
        cells = [cell for row in value.rows for cell in row]
        whole = 1 in (len(value.rows), len(value.rows[0]))
    else:
        return None
    letters = frozenset().union(*map(free_symbols, cells)) if cells else frozenset()
    if not whole or len(letters) != 1 or not letters <= _PARAMETERS - {"k"}:
        return None
    (letter,) = letters
    points = [_point(cells, letter, at) for at in (0, 1, 2, 5)]
    if None in points:
        return None
    at_zero, at_one, *rest = (point for point in points if point is not None)
    step = tuple(b - a for a, b in zip(at_zero, at_one, strict=True))
    expected = [tuple(a + times * d for a, d in zip(at_zero, step, strict=True)) for times in (2, 5)]
    return (letter, at_zero, step) if rest == expected and any(step) else None


def _point(cells: list[Node], letter: str, at: int) -> tuple[Fraction, ...] | None:
    values = [rational_or_none(cell, {letter: Fraction(at)}) for cell in cells]
    point = tuple(value for value in values if value is not None)
    return point if len(point) == len(values) else None


def _are_parallel(one: tuple[Fraction, ...], other: tuple[Fraction, ...]) -> bool:
    """Whether every minor is zero; the zero vector is parallel to all."""
    pairs = list(zip(one, other, strict=True))
    return all(a * d == b * c for a, b in pairs for c, d in pairs)
