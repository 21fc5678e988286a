"""EvalPlus' own rows (HumanEvalPlus.jsonl, MbppPlus.jsonl): inputs without results, which the row's own solution gives
in the sandbox; an answer's results are held against them as EvalPlus does it (Liu et al., arXiv 2305.01210)."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aha.data.sources import Row
from aha.rewards.code import reference_results
from aha.types import AhaError, TestCase

WALL = 20.0
"""Seconds that a row's own solution has for an input: some of them are there to be slow."""
_SEQUENCES = (list, tuple, set, frozenset)
_COMPLEX = re.compile(r"\(?[-+0-9.eEinfa ]*j\)?")
_MEMBERS = frozenset(["similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum",
                      "intersection_array", "find_dissimilar", "Diff"])  # fmt: skip
_SOMETHING = frozenset(["check_str", "text_match_three", "text_starta_endb"])
"""Functions of MBPP whose results EvalPlus compares as sets, and by whether they are something at all."""
_COMPARISONS = {
    **dict.fromkeys(_MEMBERS, "members"),
    **dict.fromkeys(_SOMETHING, "something"),
    "find_zero": "root",
    "surface_Area": "either",
    "digit_distance_nums": "either",
}


def is_evalplus(row: Row) -> bool:
    """Whether a row has inputs and a solution in place of tests."""
    return isinstance(row.get("base_input"), list) and isinstance(row.get("canonical_solution"), str)


def tests_of(row: Row, prelude: str) -> list[TestCase]:
    """The row's inputs with the results of its own solution. Raises ValueError where that gives none."""
    name = str(row.get("entry_point") or "").strip()
    if not name:
        raise ValueError("base_input without entry_point")
    inputs = [*row["base_input"], *(row.get("plus_input") or ())]
    if not inputs or not all(isinstance(one, list) for one in inputs):
        raise ValueError("base_input and plus_input must be lists of arguments")
    calls = [_retyped(one, like) for like in [_example(row, name)] for one in inputs]
    try:
        results = reference_results(_program(row, name), name, calls, prelude, WALL)
    except AhaError as error:
        raise ValueError(f"its own solution gives no results for them: {error}") from error
    rule, atol = _COMPARISONS.get(name, "near"), float(row.get("atol") or 0)
    if (otherwise := _SECOND_READINGS.get(name)) is not None:
        results = [
            [result, json.dumps(otherwise(*call))] for call, result in zip(calls, results, strict=True)
        ]
    return [
        TestCase("function", list(call), result, name, prelude, rule, atol)
        for call, result in zip(calls, results, strict=True)
    ]


def _pyramid(base: float, height: float) -> int:
    """The surface of a square pyramid whose height is that of its apex over the base, and not along its side."""
    return round(base**2 + 2 * base * math.hypot(base / 2, height))


def _digit_distances(first: int, second: int) -> int:
    """The sum of the differences of two numbers' digits, place by place from the last."""
    width = max(len(str(first)), len(str(second)))
    pairs = zip(str(first).zfill(width), str(second).zfill(width), strict=True)
    return sum(abs(int(a) - int(b)) for a, b in pairs)


_SECOND_READINGS: Mapping[str, Callable[..., int]] = {
    "surface_Area": _pyramid,
    "digit_distance_nums": _digit_distances,
}
"""Functions of MBPP whose question can be read in two ways: EvalPlus takes the results of the other one, too."""


def _program(row: Row, name: str) -> str:
    """The row's own solution as a whole program: HumanEval's goes on with the prompt."""
    prompt, solution = str(row.get("prompt") or ""), str(row["canonical_solution"])
    return prompt + solution if f"def {name}(" in prompt and f"def {name}(" not in solution else solution


# --- what JSON made of the arguments ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _AssertedCall:
    """Arguments as a row's asserts write them."""

    arguments: list[Any]


def _example(row: Row, name: str) -> _AssertedCall | None:
    """The arguments of the first assert that calls the function: JSON has no tuples and no sets, which MBPP's have."""
    for text in (row.get("assertion"), row.get("prompt")):
        for tree in _trees(text):
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                    try:
                        return _AssertedCall([ast.literal_eval(argument) for argument in node.args])
                    except (ValueError, TypeError, SyntaxError):
                        continue
    return None


def _trees(text: Any) -> Iterator[ast.Module]:
    """The asserts of a program, also of one that stands in a text between three quotes."""
    lines = text.split("\n") if isinstance(text, str) else []
    for line in lines:
        if line.lstrip().startswith("assert "):
            try:
                yield ast.parse(line.strip())
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue


def _retyped(arguments: Sequence[Any], like: _AssertedCall | None) -> list[Any]:
    """Arguments with the types of the example's; as they are where there is none, or it has another number of them."""
    if like is None or len(like.arguments) != len(arguments):
        return list(arguments)
    return [_as(_complex(value, of), of) for value, of in zip(arguments, like.arguments, strict=True)]


def _complex(value: Any, like: Any) -> Any:
    """A text in the place of a number: a complex one, of which JSON has none."""
    is_number = isinstance(like, (int, float, complex)) and not isinstance(like, bool)
    if is_number and isinstance(value, str) and _COMPLEX.fullmatch(value):
        return complex(value.replace(" ", ""))
    return value


def _as(value: Any, like: Any, within: Any = None) -> Any:
    """A value of JSON as what it was before, by one like it; ``within``: the sequence that the example stands in."""
    if isinstance(value, list) and isinstance(like, _SEQUENCES):
        return _sequence(value, like, within)
    if isinstance(value, Mapping) and isinstance(like, dict) and like:
        key, of = next(iter(like.items()))
        return {_key(name, key): _as(one, of) for name, one in value.items()}
    return _complex(value, like) if isinstance(like, complex) else value


def _sequence(value: list[Any], like: Any, within: Any) -> Any:
    shapes = list(like)
    each = len(shapes) == len(value) and isinstance(like, tuple)
    deeper = (
        None if within is None else like
    )  # what is nested deeper than the example is nested as the example is
    members = [
        _as(one, _like(one, shapes, i if each else 0, deeper), like) if shapes else one
        for i, one in enumerate(value)
    ]
    return members if isinstance(like, list) else type(like)(members)


def _like(value: Any, shapes: Sequence[Any], index: int, deeper: Any) -> Any:
    """Which of an example's members a value is like: the one in its place, but for a list or a dictionary in the place
    of something else the first that is one."""
    kinds = _SEQUENCES if isinstance(value, list) else (dict,)
    if not isinstance(value, (list, dict)) or isinstance(shapes[index], kinds):
        return shapes[index]
    return next(
        (shape for shape in shapes if isinstance(shape, kinds)), deeper if isinstance(value, list) else None
    )


def _key(name: Any, like: Any) -> Any:
    return (
        int(name)
        if isinstance(like, int) and isinstance(name, str) and name.lstrip("-").isdecimal()
        else name
    )
