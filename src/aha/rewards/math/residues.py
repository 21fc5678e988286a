"""Congruences: ``3 \\pmod 7``, ``x \\equiv 3 \\pmod 7``, ``3 (mod 7)``."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from aha.rewards.math import numeric
from aha.rewards.math.exact import free_symbols, rational_or_none
from aha.rewards.math.expressions import Unknown, parse_expression
from aha.rewards.math.ratios import all_of
from aha.rewards.math.slices import at_depth_zero, matches, spelling, split, trimmed
from aha.rewards.math.tokens import Token
from aha.rewards.math.values import Collection, Named, Node, Residue, Scalar, Value

_WHOLE = frozenset("jklmnt")


def residue(tokens: list[Token], read: Callable[[list[Token]], Value]) -> Residue | None:
    """The congruence that the tokens spell, or None."""
    cut = _modulus(tokens)
    if cut is None:
        return None
    left, modulus = cut
    pieces = split(left, matches(left), {"equiv"})[0]
    if len(pieces) == 1:
        pieces = split(left, matches(left), {"="})[0]
    if len(pieces) > 2 or not all(trimmed(piece) for piece in pieces):
        return None
    try:
        below = parse_expression(trimmed(modulus))
    except Unknown:
        return None
    name = spelling([t for t in pieces[0] if t.text not in "{}"]) if len(pieces) == 2 else ""
    return Residue(name, read(pieces[-1]), below)


def _modulus(tokens: list[Token]) -> tuple[list[Token], list[Token]] | None:
    """What stands before a sign of congruence, and the modulus behind it."""
    if not any(t.text in ("pmod", "mod") for t in tokens):
        return None
    match = matches(tokens)
    places = [i for i, t in at_depth_zero(tokens, match) if t.text in ("pmod", "mod")]
    if len(places) == 1 and 0 < places[0] < len(tokens) - 1:
        left, right = tokens[: places[0]], tokens[places[0] + 1 :]
        is_sign = tokens[places[0]].text == "pmod" or any(t.text == "equiv" for t in left)
        return (left, right) if is_sign or _is_reduced(left, right) else None
    opened = next((i for i, end in match.items() if end == len(tokens) - 1), 0)
    if opened and tokens[opened].text == "(" and tokens[opened + 1].text in ("pmod", "mod"):
        return tokens[:opened], tokens[opened + 2 : -1]
    return None


def _is_reduced(left: list[Token], right: list[Token]) -> bool:
    """``3 mod 7`` says what is left; ``10 mod 7`` asks for it."""
    below = [t.value for t in right if t.text not in "{}"]
    above = left[0].value
    return (
        len(left) == len(below) == 1 and above is not None and below[0] is not None and 0 <= above < below[0]
    )


def same_residue(gold: Residue, answer: Residue, equal: Callable[[Value, Value], bool | None]) -> bool | None:
    """Equal moduli, and values that differ by multiples of them."""
    if gold.name and answer.name and gold.name != answer.name:
        return False
    if numeric.same(gold.modulus, answer.modulus) is not True:
        return False
    golds, answers = _members(gold.value), _members(answer.value)
    if golds is None or answers is None:
        return equal(gold.value, answer.value)
    keys = [{_reduced(node, gold.modulus) for node in nodes} for nodes in (golds, answers)]
    if None in keys[0] | keys[1]:
        return all_of(numeric.same(x, y) for x, y in zip(golds, answers, strict=False))
    return keys[0] == keys[1]


def as_residue(value: Named) -> Residue | None:
    """``n = 4k + 1`` for a whole k as the congruence that it is."""
    if not isinstance(value.value, Scalar) or value.parameter:
        return None
    letters = free_symbols(value.value.expr)
    if len(letters) != 1 or not letters <= _WHOLE or value.name in letters:
        return None
    letter = next(iter(letters))
    values = [rational_or_none(value.value.expr, {letter: Fraction(n)}) for n in (0, 1, 2, 5)]
    at_zero, at_one, *rest = values
    if at_zero is None or at_one is None or at_zero == at_one:
        return None
    step = at_one - at_zero
    if rest != [at_zero + 2 * step, at_zero + 5 * step]:
        return None
    return Residue(value.name, Scalar(("num", at_zero)), ("num", abs(step)))


def _members(value: Value) -> list[Node] | None:
    items = value.items if isinstance(value, Collection) else (value,)
    nodes = [item.expr for item in items if isinstance(item, Scalar)]
    return nodes if len(nodes) == len(items) and nodes else None


def _reduced(node: Node, modulus: Node) -> int | None:
    value, below = rational_or_none(node), rational_or_none(modulus)
    if value is None or below is None or value.denominator != 1 or below.denominator != 1 or not below:
        return None
    return int(value) % abs(int(below))
