"""Function calling, matched by its syntax tree as the Berkeley Function Calling Leaderboard does (Patil et al., 2024).

A row has a conversation, the functions that there are, and for each call that is wanted the values that each parameter
may have. A call is right where its name is, where no parameter is missing or made up, and every value is one of those;
several calls may come in any order. Calls are read and never run.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

from aha import chat
from aha.chat.prompts import FORM
from aha.data.sources import Row
from aha.tasks import rows
from aha.tasks.base import Task
from aha.tasks.rows import RowReader
from aha.types import AhaError, Message, Outcome, Problem, Verdict

MAX_CHARS = 8000
_IGNORED = frozenset(" ,./-_*^'\"")
_ASK = (
    "You can call these functions:\n{functions}\n\nAnswer with the calls alone, as a Python list: "
    "[name(parameter=value), ...]. Write [] where none of them fits."
)
Call = tuple[str, Mapping[str, Any]]
"""A function's name and its arguments."""


def make_problem(row: Row, number: int, name: str = "function_calls") -> Problem:
    """The problem in a row. Raises AhaError naming the row."""
    functions = _listed(row.get("function", row.get("functions", row.get("tools"))))
    truth = _listed(row.get("ground_truth", row.get("possible_answer")))
    asked = _messages(row.get("question", row.get("messages")))
    if functions is None or truth is None or not asked:
        raise AhaError(
            f"Row {number} has no question, function and ground_truth: its columns are {sorted(row)}. ground_truth is "
            'a list of {"name": {"parameter": [values that it may have]}}.'
        )
    calls = tuple(_wanted(one, number) for one in truth)
    told = _ASK.format(
        functions=json.dumps([f.get("function", f) for f in functions], ensure_ascii=False, indent=1)
    )
    *before, last = asked
    return Problem(
        id=f"{name}-{number}",
        task=name,
        messages=(*before, {**last, "content": f"{told}\n\n{last['content']}"}),
        metadata={FORM: "free", "calls": calls, "required": _required(functions)},
    )


def _listed(value: Any) -> list[Any] | None:
    value = json.loads(value) if isinstance(value, str) else value
    value = [value] if isinstance(value, Mapping) else value
    return list(value) if isinstance(value, Sequence) and all(isinstance(v, Mapping) for v in value) else None


def _messages(value: Any) -> tuple[Message, ...]:
    if isinstance(value, str):
        return ({"role": "user", "content": value},)
    while isinstance(value, Sequence) and value and isinstance(value[0], Sequence):
        value = value[0]  # a list of turns: the first is asked
    if not isinstance(value, Sequence) or not all(isinstance(m, Mapping) and m.get("content") for m in value):
        return ()
    return tuple({"role": str(m.get("role", "user")), "content": str(m["content"])} for m in value)


def _wanted(one: Mapping[str, Any], number: int) -> Call:
    if len(one) != 1 or not isinstance(values := next(iter(one.values())), Mapping):
        raise AhaError(f"Row {number}: a wanted call is not one name with its parameters: {str(one)[:80]}")
    return next(iter(one)), {k: v if isinstance(v, list) else [v] for k, v in values.items()}


def _required(functions: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    required = {}
    for one in functions:
        function = one.get("function", one)
        parameters = function.get("parameters") or {}
        required[str(function.get("name"))] = tuple(parameters.get("required") or ())
    return required


# --- reading -------------------------------------------------------------------------------------------------


def read_calls(text: str) -> list[Call] | None:
    """The calls in what was said: Python's notation, JSON objects with name and arguments, or those in
    ``<tool_call>`` tags. None where it is neither."""
    said = text.strip()[:MAX_CHARS]
    if "<tool_call>" in said:
        parts = [part.partition("</tool_call>")[0] for part in said.split("<tool_call>")[1:]]
        parsed = [_json_calls(part) for part in parts]
        return (
            [call for calls in parsed for call in calls or ()] if all(c is not None for c in parsed) else None
        )
    if "```" in said:
        inside = said.split("```")[1]
        said = inside.partition("\n")[2] if "\n" in inside else inside
    json_calls = _json_calls(said)
    return json_calls if json_calls is not None else _python_calls(said)


def _json_calls(text: str) -> list[Call] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    value = [value] if isinstance(value, Mapping) else value
    if not isinstance(value, list):
        return None
    calls = [_json_call(one) for one in value]
    return [c for c in calls if c is not None] if all(c is not None for c in calls) else None


def _json_call(one: Any) -> Call | None:
    if not isinstance(one, Mapping):
        return None
    one = one.get("function", one) if isinstance(one.get("function"), Mapping) else one
    arguments = one.get("arguments", one.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    return (str(one["name"]), arguments) if "name" in one and isinstance(arguments, Mapping) else None


def _python_calls(text: str) -> list[Call] | None:
    """Calls as Python writes them, whose values are literals."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    nodes = tree.elts if isinstance(tree, (ast.List, ast.Tuple)) else [tree]
    calls = [_python_call(node) for node in nodes]
    return [c for c in calls if c is not None] if all(c is not None for c in calls) else None


def _python_call(node: ast.expr) -> Call | None:
    if not isinstance(node, ast.Call) or node.args:
        return None
    try:
        arguments = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords if k.arg}
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    return (ast.unparse(node.func), arguments) if len(arguments) == len(node.keywords) else None


# --- matching ------------------------------------------------------------------------------------------------


def mismatch(calls: Sequence[Call], expected: Sequence[Call], required: Mapping[str, Sequence[str]]) -> str:
    """In words, why calls are not those that are wanted; "" where they are."""
    if len(calls) != len(expected):
        return f"{len(calls)} calls, not {len(expected)}"
    left, reason = list(calls), ""
    for name, values in expected:
        reasons = [_call_mismatch(call, name, values, required.get(name, ())) for call in left]
        if "" not in reasons:
            return next((r for r in reasons if not r.startswith("calls ")), reasons[0])
        left.pop(reasons.index(""))
    return reason


def _call_mismatch(call: Call, name: str, values: Mapping[str, list[Any]], required: Sequence[str]) -> str:
    called, arguments = call
    if called != name:
        return f"calls {called}, not {name}"
    unknown = [p for p in arguments if p not in values]
    missing = [p for p in values if p not in arguments and (p in required or "" not in values[p])]
    if unknown or missing:
        return f"{name} has {'an unknown ' + unknown[0] if unknown else 'no ' + missing[0]}"
    wrong = next((p for p in arguments if not any(same(arguments[p], value) for value in values[p])), None)
    return "" if wrong is None else f"{name}: {wrong} is {str(arguments[wrong])[:60]!r}"


def same(value: Any, allowed: Any) -> bool:
    """Whether a value is an allowed one: words without case, spaces and punctuation; whole numbers are numbers; lists
    in order; of objects each value is one of a list of those allowed."""
    if isinstance(value, bool) or isinstance(allowed, bool):
        return value is allowed
    if isinstance(value, str) and isinstance(allowed, str):
        return _plain(value) == _plain(allowed)
    if isinstance(value, (int, float)) and isinstance(allowed, (int, float)):
        return float(value) == float(allowed)
    if isinstance(value, (list, tuple)) and isinstance(allowed, (list, tuple)):
        return len(value) == len(allowed) and all(map(same, value, allowed))
    if isinstance(value, Mapping) and isinstance(allowed, Mapping):
        return _same_object(value, allowed)
    return value is None and allowed is None


def _same_object(values: Mapping[str, Any], allowed: Mapping[str, Any]) -> bool:
    choices = {k: v if isinstance(v, list) else [v] for k, v in allowed.items()}
    if any(k not in choices for k in values) or any(
        k not in values and "" not in choices[k] for k in choices
    ):
        return False
    return all(any(same(v, choice) for choice in choices[k]) for k, v in values.items())


def _plain(text: str) -> str:
    return "".join(c for c in text.casefold() if c not in _IGNORED)


def verify(problem: Problem, text: str) -> Verdict:
    """Right where what is said after the thinking are the wanted calls and nothing else."""
    said = chat.parse(text).said
    if not said:
        return Verdict(Outcome.NO_ANSWER, "nothing is said after the thinking")
    calls = read_calls(said)
    if calls is None:
        return Verdict(Outcome.WRONG, f"no list of calls: {said.strip()[:60]!r}")
    wrong = mismatch(calls, problem.metadata["calls"], problem.metadata["required"])
    return Verdict(Outcome.WRONG if wrong else Outcome.CORRECT, wrong)


READER = RowReader(make_problem)


def task(source: str | None, name: str = "function_calls", test_source: str | None = None) -> Task:
    """Function calling over the rows of ``source``: a file, or ``hub/name``."""

    def load_split(split: str, n: int, seed: int) -> list[Problem]:
        return rows.load(READER, name, split, n, seed, source, test_source)

    return Task(name, load_split, verify, verify, lambda problem, text: None)
