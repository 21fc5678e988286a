"""Several values with names of their own: ``x = 1, y = 2`` is not ``y = 1, x = 2``, nor ``2, 1``."""

from __future__ import annotations

import re
from collections.abc import Callable

from aha.rewards.math.ratios import all_of
from aha.rewards.math.values import Collection, Matrix, Named, Scalar, Value

Pair = tuple[Value, Value]
_BRACKETED = re.compile(r"(?:text )?(.+?)[(\[](.+)[)\]]\Z")
_VARIANCES = frozenset(("var", "d", "v"))


def pairs(gold: Collection, answer: Value) -> list[Pair] | None:
    """What is to be compared with what, where names or the order they stand in tell; else None."""
    names = _distinct(gold)
    if names is None or not isinstance(answer, Collection) or len(answer.items) != len(names):
        return None
    theirs = _distinct(answer)
    if theirs is not None:
        values = {item.name: item for item in answer.items if isinstance(item, Named)}
        same = set(theirs) == set(names)
        return [(item, values[name]) for name, item in zip(names, gold.items, strict=True)] if same else None
    if any(isinstance(item, Named) for item in answer.items) or answer.kind == "set":
        return None
    if answer.kind == "list" and len({name.partition("_")[0] for name in names}) == 1:
        return None  # the roots x_1 and x_2 may be told in either order
    values = [item.value for item in gold.items if isinstance(item, Named)]
    return list(zip(values, answer.items, strict=True))


def loses_order(gold: Collection, answer: Collection) -> bool:
    """Whether an answer is a set of bare values, where the gold's have names of their own: x = 1, y = 2."""
    names = _distinct(gold)
    bare = answer.kind == "set" and not any(isinstance(item, Named) for item in answer.items)
    return names is not None and bare and len({name.partition("_")[0] for name in names}) > 1


def contradicts(gold: Collection, answer: Value) -> bool:
    """Whether all the answer's values have one of the gold's names: ``y = 1, y = 2`` for ``x = 1, y = 2``."""
    names = _distinct(gold)
    if names is None or not isinstance(answer, Named) or not isinstance(answer.value, Collection):
        return False
    return answer.name in names and answer.value.kind == "list"


def _distinct(group: Collection) -> list[str] | None:
    """The members' names, if all have one and no two the same."""
    if group.kind != "list" or group.joined_by_or:
        return None
    names = [item.name for item in group.items if isinstance(item, Named)]
    return names if len(names) == len(group.items) > 1 and len(set(names)) == len(names) else None


def canonical(name: str) -> str:
    """A name in one spelling: ``E[X]`` as ``E(X)``."""
    return name.replace("[", "(").replace("]", ")")


def measures_other(one: str, other: str) -> bool:
    """Whether two names are of different measures of one thing: ``E(X)`` and ``Var(X)``."""
    first, second = _BRACKETED.match(one), _BRACKETED.match(other)
    if first is None or second is None or canonical(first.group(2)) != canonical(second.group(2)):
        return False
    measures = {first.group(1).casefold(), second.group(1).casefold()}
    return len(measures) == 2 and not measures <= _VARIANCES


def roots(name: str, answer: Collection) -> Collection | None:
    """``x_1 = 1, x_2 = 3`` as the values of x; None where other names stand in it."""
    values = [i.value for i in answer.items if isinstance(i, Named) and i.name.partition("_")[0] == name]
    indexed = all(isinstance(item, Named) and "_" in item.name for item in answer.items)
    return Collection("list", tuple(values)) if indexed and len(values) == len(answer.items) else None


def same_tuple(gold: Value, answer: Value, equal: Callable[[Value, Value], bool | None]) -> bool | None:
    """``(x, y) = (1, 2)`` against ``y = 2, x = 1`` and ``(y, x) = (2, 1)``, by name."""
    expected, theirs = _by_name(gold), _by_name(answer)
    if expected is None or theirs is None or set(expected) != set(theirs):
        return False
    return all_of(equal(value, theirs[name]) for name, value in expected.items())


def are_shared(one: Value, other: Value) -> bool:
    """Whether both give values of the same several names."""
    first, second = _by_name(one), _by_name(other)
    return first is not None and second is not None and set(first) == set(second)


def _by_name(value: Value) -> dict[str, Value] | None:
    if isinstance(value, Named) and value.name.startswith("(") and isinstance(value.value, Collection):
        names = value.name.strip("()").split(",")
        items = value.value.items
    elif isinstance(value, Named) and value.name.startswith("(") and isinstance(value.value, Matrix):
        names = value.name.strip("()").split(",")
        items = tuple(Scalar(cell) for row in value.value.rows for cell in row)
    elif isinstance(value, Collection) and _distinct(value):
        names = [item.name for item in value.items if isinstance(item, Named)]
        items = tuple(item.value for item in value.items if isinstance(item, Named))
    else:
        return None
    return dict(zip(names, items, strict=True)) if len(set(names)) == len(names) == len(items) else None
