"""Vectors written in unit vectors: ``2\\mathbf{i} - 3\\mathbf{j} + \\mathbf{k}`` is ``(2, -3, 1)``."""

from __future__ import annotations

from aha.rewards.math.values import Node, num

_AXES = {f"{mark}{letter}": place for mark in ("", "hat ", "vec ") for place, letter in enumerate("ijk")}


def components(node: Node) -> tuple[Node, ...] | None:
    """Three components, of a sum in which every term has one unit vector; None for anything else.

    At least two of the unit vectors must occur, since ``2i`` alone is a number.
    """
    terms = node[1:] if node[0] == "add" else (node,)
    coefficients: dict[int, list[Node]] = {}
    for term in terms:
        place, rest = _split(term)
        if place is None:
            return None
        coefficients.setdefault(place, []).append(rest)
    if len(coefficients) < 2:
        return None
    return tuple(_total(coefficients.get(place, [])) for place in range(3))


def _split(term: Node) -> tuple[int | None, Node]:
    """The axis of a term and its coefficient."""
    if term[0] == "neg":
        place, rest = _split(term[1])
        return place, ("neg", rest)
    if term[0] == "div":
        place, rest = _split(term[1])
        return place, ("div", rest, term[2])
    factors = term[1:] if term[0] == "mul" else (term,)
    axes = [i for i, factor in enumerate(factors) if factor[0] == "sym" and factor[1] in _AXES]
    if len(axes) != 1:
        return None, num(0)
    others = factors[: axes[0]] + factors[axes[0] + 1 :]
    rest = others[0] if len(others) == 1 else ("mul", num(1), *others)
    return _AXES[str(factors[axes[0]][1])], rest


def _total(parts: list[Node]) -> Node:
    return num(0) if not parts else parts[0] if len(parts) == 1 else ("add", *parts)
