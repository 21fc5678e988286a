"""Answers that only come near: ``y \\approx 2x`` for ``y = 2x``."""

from __future__ import annotations

import re

from aha.rewards.math.exact import free_symbols
from aha.rewards.math.values import Equation, Named, Scalar, Value

_NEAR = re.compile(r"\\(?:approx|simeq|doteq)(?![A-Za-z])|[≈≃≒]")


def exact_before(reference: str, gold: Value, answer: str) -> str | None:
    """What an answer says before its first sign of nearness, which must then be the reference, an expression with
    variables: that is never said by what is near. None where nothing is to be looked at."""
    match = _NEAR.search(answer)
    if match is None or _NEAR.search(reference) or not _has_variables(gold):
        return None
    return answer[: match.start()].strip()


def _has_variables(value: Value) -> bool:
    while isinstance(value, Named):
        value = value.value
    values = value.members if isinstance(value, Equation) else (value,)
    return any(isinstance(each, Scalar) and free_symbols(each.expr) for each in values)
