"""Matrices, and vectors in whatever form: a tuple, a row, a column, a sum of unit vectors."""

from __future__ import annotations

from collections.abc import Callable

from aha.rewards.math import numeric
from aha.rewards.math.ratios import all_of
from aha.rewards.math.values import Collection, Matrix, Named, Node, Scalar, Value
from aha.rewards.math.vectors import components

Equal = Callable[[Value, Value], bool | None]


def same_matrix(gold: Matrix, answer: Value, equal: Equal) -> bool | None:
    """Equal shapes and equal entries; a row or a column may be written as a tuple."""
    if isinstance(answer, Named):
        answer = answer.value
    if isinstance(answer, Collection) and answer.kind == "tuple":
        rows = [i for i in answer.items if isinstance(i, Collection) and i.kind == "tuple"]
        if rows and len(rows) == len(answer.items) == len(gold.rows):
            pairs = zip(rows, gold.rows, strict=True)
            return all_of(_entries(row, cells, equal) for row, cells in pairs)
        cells = _column_or_row(gold)
        return cells is not None and _entries(answer, cells, equal)
    if isinstance(answer, Scalar):
        cells, parts = _column_or_row(gold), components(answer.expr)
        if answer.expr[0] == "binom":
            parts = answer.expr[1:]  # a column of two, set as a binomial
        if cells is not None and parts is not None and len(cells) == 2 and parts[2:] == (("num", 0),):
            parts = parts[:2]
        return cells is not None and parts is not None and _same_entries(cells, parts)
    if not isinstance(answer, Matrix) or [len(r) for r in gold.rows] != [len(r) for r in answer.rows]:
        return False
    pairs = ((x, y) for g, a in zip(gold.rows, answer.rows, strict=True) for x, y in zip(g, a, strict=True))
    return all_of(numeric.same(x, y) for x, y in pairs)


def same_vector(group: Collection, other: Value, equal: Equal) -> bool | None:
    """A tuple against a row, a column or a sum of unit vectors."""
    if group.kind != "tuple":
        return False
    cells = _column_or_row(other) if isinstance(other, Matrix) else None
    if isinstance(other, Scalar) and other.unit is None:
        cells = components(other.expr)
    return cells is not None and _entries(group, cells, equal)


def _entries(group: Collection, cells: tuple[Node, ...], equal: Equal) -> bool | None:
    if len(cells) == 3 and len(group.items) == 2:
        cells = cells[:2] if cells[2] == ("num", 0) else cells
    if len(cells) != len(group.items):
        return False
    return all_of(equal(x, Scalar(y)) for x, y in zip(group.items, cells, strict=True))


def _same_entries(a: tuple[Node, ...], b: tuple[Node, ...]) -> bool | None:
    return len(a) == len(b) and all_of(numeric.same(x, y) for x, y in zip(a, b, strict=True))


def _column_or_row(matrix: Matrix) -> tuple[Node, ...] | None:
    if len(matrix.rows) == 1:
        return matrix.rows[0]
    if all(len(row) == 1 for row in matrix.rows):
        return tuple(row[0] for row in matrix.rows)
    return None
