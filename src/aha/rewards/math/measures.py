"""Numbers with what stands around them: currency signs, units, degrees, percent, time of day."""

from __future__ import annotations

from aha.rewards.math import units
from aha.rewards.math.expressions import Unknown, parse_expression
from aha.rewards.math.slices import trimmed
from aha.rewards.math.tokens import Token
from aha.rewards.math.values import Scalar


def measured(tokens: list[Token]) -> Scalar:
    """An expression with whatever unit, percent sign or annotation stands before and behind it."""
    percent = False
    unit: units.Unit | None = None
    if tokens[0].text in ("dollar", "yuan", "euro", "pound") and len(tokens) > 1:
        found = units.from_words([tokens[0]])
        unit = found if isinstance(found, units.Unit) else None
        tokens = tokens[1:]
    elif tokens[0].text == "-" and len(tokens) > 2 and tokens[1].text == "dollar":
        tokens = [tokens[0], *tokens[2:]]
    end = _unit_start(tokens)
    if end < len(tokens):
        found = units.from_words(tokens[end:])
        if found is False:
            raise Unknown("words that are no unit")
        if isinstance(found, units.Unit):
            unit = found
        tokens = trimmed(tokens[:end])
    tokens, degree = _without_degree(tokens)
    if degree:
        unit = unit or units.Unit(units.DEGREE)
    while len(tokens) > 1 and tokens[-1].text == "'" and tokens[0].kind == "num" and tokens[-2].kind != "id":
        tokens = tokens[:-1]  # minutes of arc, or feet
    if tokens and tokens[-1].text == "%":
        percent, tokens = True, tokens[:-1]
    if not tokens:
        raise Unknown("no number")
    return Scalar(parse_expression(tokens), unit, percent)


def without_meridiem(tokens: list[Token]) -> tuple[list[Token], str]:
    """ "58 a.m." as (58, "am")."""
    for index, token in enumerate(tokens):
        if index and token.kind in ("word", "id"):
            word = "".join(t.text for t in tokens[index:] if t.text not in ".()").lower()
            if word in ("am", "pm"):
                return [t for t in tokens[:index] if t.text not in "()"], word
            return tokens, ""
    return tokens, ""


def _unit_start(tokens: list[Token]) -> int:
    """Where the words at the end begin, or the end."""
    for index, token in enumerate(tokens):
        if token.kind == "word" and index > 0:
            if tokens[index - 1].text in ("_", "{", "overline", "hat", "vec"):
                return len(tokens)
            return index
        if token.text in ("dollar", "yuan", "euro", "pound") and index > 0:
            return index
        if token.text == "pmod":
            return len(tokens)
    return len(tokens)


def _without_degree(tokens: list[Token]) -> tuple[list[Token], bool]:
    texts = [t.text for t in tokens[-5:]]
    for ending in (["^", "{", "circ", "}"], ["^", "circ"], ["degree"], ["circ"]):
        if len(tokens) > len(ending) and texts[-len(ending) :] == ending:
            return tokens[: -len(ending)], True
        with_scale = [*ending, "C"]
        if len(tokens) > len(with_scale) and texts[-len(with_scale) :] == with_scale:
            return tokens[: -len(with_scale)], True
    return tokens, False
