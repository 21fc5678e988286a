"""Comparing collections whose order does not matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Set
from typing import Any

from aha.rewards.math import numeric
from aha.rewards.math.exact import rational_or_none
from aha.rewards.math.ratios import all_of
from aha.rewards.math.values import Collection, Scalar, Value

MOST_ITEMS = 64  # members that are not written alike; comparing each with each takes their number squared
Equal = Callable[[Value, Value], bool | None]


def without_order(gold: list[Value], answer: list[Value], distinct: bool, equal: Equal) -> bool | None:
    """Whether two collections hold the same values; ``distinct`` forgets repetitions."""
    gold, answer = _without_common(gold, answer, distinct)
    if max(len(gold), len(answer)) > MOST_ITEMS:
        if len(gold) != len(answer):
            return None if distinct else False
        first, second = _sorted(gold, answer)
        return all_of(equal(x, y) for x, y in zip(first, second, strict=True))
    if distinct:
        gold, answer = _unique(gold, equal), _unique(answer, equal)
    if len(gold) != len(answer):
        return False
    left = list(answer)
    undecided = False
    for expected in gold:
        outcomes = [equal(expected, candidate) for candidate in left]
        if True in outcomes:
            left.pop(outcomes.index(True))
        elif None in outcomes:
            undecided = True
        else:
            return False
    return None if undecided else True


def _without_common(
    gold: list[Value], answer: list[Value], distinct: bool
) -> tuple[list[Value], list[Value]]:
    """Both without the members that they share as they are written: rationals, and what is spelled alike."""
    golds, answers = Counter(map(_key, gold)), Counter(map(_key, answer))
    shared = set(golds) & set(answers) if distinct else golds & answers
    return _less(gold, shared), _less(answer, shared)


def _less(items: list[Value], shared: Set[Any] | Counter[Any]) -> list[Value]:
    left = dict(shared) if isinstance(shared, Counter) else None
    kept = []
    for item in items:
        key = _key(item)
        if left is None:
            if key not in shared:
                kept.append(item)
        elif left.get(key, 0):
            left[key] -= 1
        else:
            kept.append(item)
    return kept


def _key(item: Value) -> Any:
    """The exact number, where the member is one without a unit; else the member."""
    if isinstance(item, Scalar) and item.unit is None and not item.percent:
        value = rational_or_none(item.expr)
        return item if value is None else value
    return item


def _sorted(gold: list[Value], answer: list[Value]) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """Long collections by size, where every member has one, since comparing each with each is too much."""
    keyed = [[(_size(item), item) for item in items] for items in (gold, answer)]
    if any(size is None for items in keyed for size, _ in items):
        return tuple(gold), tuple(answer)
    first, second = (tuple(item for _, item in sorted(items, key=lambda pair: pair[0])) for items in keyed)
    return first, second


def _size(item: Value) -> Any:
    return numeric.real_value(item.expr) if isinstance(item, Scalar) else None


def _unique(items: list[Value], equal: Equal) -> list[Value]:
    kept: list[Value] = []
    for item in items:
        if not any(equal(other, item) for other in kept):
            kept.append(item)
    return kept


def are_letters(group: Collection) -> bool:
    """Whether it is a bare list of letters: options, or propositions."""
    return group.kind == "list" and all(isinstance(i, Scalar) and i.expr[0] == "sym" for i in group.items)
