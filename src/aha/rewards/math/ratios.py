"""Ratios and times of day, which are written alike and compared differently."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import combinations
from math import gcd

from aha.rewards.math import numeric
from aha.rewards.math.values import Node, Ratio


def same_ratio(gold: Ratio, answer: Ratio) -> bool | None:
    """``1:2`` and ``2:4`` are one ratio; ``3:15`` and ``6:30`` are two times of day.

    What is spelled as a time is one, unless it is also a ratio in lowest terms and stands beside a ratio that
    is spelled as no time.
    """
    if gold.clock and answer.clock:
        return _same_time(gold, answer)
    if gold.meridiem or answer.meridiem or len(gold.parts) != len(answer.parts):
        return False
    if gold.clock != answer.clock and not all(_is_written_alike(r) for r in (gold, answer)):
        return False  # 9:05 is no 9:5
    first = all_of(numeric.same(x, y) for x, y in zip(gold.parts, answer.parts, strict=True))
    if first is not False or not could_be_ratio(gold):
        return first
    return _proportional(gold.parts, answer.parts)


def _is_written_alike(value: Ratio) -> bool:
    """Whether a time's minutes would be written so in a ratio, too: not 05."""
    return not value.clock or all(part[1] >= 10 for part in value.parts[1:])


def could_be_ratio(value: Ratio) -> bool:
    """Whether what may be a time of day could also be a ratio, as one gives it: in lowest terms."""
    if not value.clock or value.spoken:
        return not value.spoken
    parts = [part[1] for part in value.parts]
    return (
        not value.meridiem
        and all(parts)
        and _is_written_alike(value)
        and gcd(*(int(part) for part in parts)) == 1
    )


def _proportional(gold: tuple[Node, ...], answer: tuple[Node, ...]) -> bool | None:
    zero: Node = ("num", Fraction(0))
    for parts in (gold, answer):
        if all(numeric.same(part, zero) for part in parts):
            return False
    pairs = combinations(zip(gold, answer, strict=True), 2)
    return all_of(numeric.same(("mul", g, b), ("mul", h, a)) for (g, a), (h, b) in pairs)


def _same_time(gold: Ratio, answer: Ratio) -> bool:
    if gold.meridiem and answer.meridiem and gold.meridiem != answer.meridiem:
        return False
    if not gold.meridiem and not answer.meridiem:
        return _seconds(gold, "") == _seconds(answer, "")
    half = gold.meridiem or answer.meridiem
    return any(
        _seconds(gold, g) == _seconds(answer, a) for g, a in ((half, half), (gold.meridiem, answer.meridiem))
    )


def _seconds(time: Ratio, half: str) -> int:
    hour, *rest = (int(part[1]) for part in time.parts)
    if half and hour <= 12:
        hour = hour % 12 + (12 if half == "pm" else 0)
    minute, second = [*rest, 0, 0][:2]
    return hour * 3600 + minute * 60 + second


def all_of(outcomes: Iterable[bool | None]) -> bool | None:
    """Three-valued "and": False if any is, else None if any is."""
    undecided = False
    for outcome in outcomes:
        if outcome is False:
            return False
        undecided = undecided or outcome is None
    return None if undecided else True
