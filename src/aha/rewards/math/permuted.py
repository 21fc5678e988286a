"""``(1, 2, 3) and its permutations``: all of them, one by one."""

from __future__ import annotations

from itertools import permutations
from math import factorial

from aha.rewards.math.values import Collection, Named, Text, Value

MOST_TUPLES = 400  # written out


def permuted(items: list[Value]) -> list[Value]:
    """The members of a list with the permutations that its last words ask for."""
    last = items[-1]
    if not isinstance(last, Text) or "permutation" not in last.words or len(items) < 2:
        return items
    tuples = [item.value if isinstance(item, Named) else item for item in items[:-1]]
    if not all(isinstance(t, Collection) and t.kind == "tuple" and len(t.items) < 6 for t in tuples):
        return items
    if sum(factorial(len(t.items)) for t in tuples if isinstance(t, Collection)) > MOST_TUPLES:
        return items
    values: dict[Value, None] = {}
    for item in tuples:
        assert isinstance(item, Collection)
        orders = _cycles(item.items) if "cycl" in last.words else permutations(item.items)
        values.update(dict.fromkeys(Collection("tuple", order, item.brackets) for order in orders))
    return list(values)


def _cycles(items: tuple[Value, ...]) -> list[tuple[Value, ...]]:
    return [items[start:] + items[:start] for start in range(len(items))]
