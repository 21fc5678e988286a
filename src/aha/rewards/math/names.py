"""Several values with names of their own: ``x = 1, y = 2`` is not ``y = 1, x = 2``, nor ``2, 1``."""

from __future__ import annotations

from aha.rewards.math.values import Collection, Named, Value

Pair = tuple[Value, Value]


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
