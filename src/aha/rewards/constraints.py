"""Rules on an answer's form that a prompt's row states: instructions (IFEval), JSON by a schema, calls of tools.

They are rule rewards of general prompts: what they pay for, a program can see. The form is looked for in the final
text alone, never in the thinking.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aha.chat import parse
from aha.rewards.accuracy import full_text, per_rollout
from aha.rewards.instructions import broken, check_known
from aha.rewards.json_schema import check_schema, violation
from aha.rewards.json_schema.automaton import TooMuchError
from aha.rewards.json_schema.checking import TYPES
from aha.types import AhaError, Problem, Reward, Rollout, Score

LONGEST = 100_000
"""Characters of an answer that are read."""
_FENCE = re.compile(r"\A\s*```(?:json|JSON)?[ \t]*\n|\n[ \t]*```\s*\Z")
_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


# --- what a row states ----------------------------------------------------------------------------------------


def constraints_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row demands of its answer's form, as a problem's metadata: ``instructions``, ``json_schema``, ``tools``.

    Raises AhaError for an instruction or a schema that cannot be checked here.
    """
    asked: dict[str, Any] = {}
    kinds, told = row.get("instruction_id_list"), row.get("kwargs")
    if isinstance(kinds, list) and kinds:
        if not isinstance(told, list) or len(told) != len(kinds):
            raise AhaError(f"it has {len(kinds)} instructions, but no kwargs for each of them")
        pairs = [(str(kind), _given(kwargs)) for kind, kwargs in zip(kinds, told, strict=True)]
        for kind, kwargs in pairs:
            check_known(kind, kwargs)
        asked |= {"instructions": tuple(pairs), "instruction_id_list": kinds, "kwargs": told}
    schema = _schema(row.get("response_format"))
    if schema is not None:
        check_schema(schema, "its JSON schema")
        asked["json_schema"] = schema
    if tools := [_function(tool) for tool in _listed(row.get("tools"))]:
        asked["tools"] = tuple(tools)
    return asked


def _given(kwargs: Any) -> dict[str, Any]:
    return {k: v for k, v in kwargs.items() if v is not None} if isinstance(kwargs, Mapping) else {}


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError as error:
            raise AhaError(f"its tools are no JSON: {value[:60]!r}") from error
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []


def _function(tool: Any) -> dict[str, Any]:
    """A tool's name and its parameters' schema, as OpenAI's rows have them or bare."""
    inner = tool.get("function", tool) if isinstance(tool, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise AhaError(f"one of its tools has no name: {str(tool)[:60]}")
    parameters = _renamed(inner.get("parameters"))
    parameters = parameters if isinstance(parameters, Mapping) else {}
    check_schema(parameters, f"the parameters of its tool {inner['name'][:40]!r}")
    return {"name": inner["name"], "parameters": parameters}


_TYPES = {"dict": "object", "list": "array", "tuple": "array", "str": "string", "float": "number", "double": "number",
          "int": "integer", "long": "integer", "bool": "boolean"}  # fmt: skip
"""Types as sets of tools name them that were written for Python or Java."""


def _renamed(schema: Any) -> Any:
    """A schema whose types have the standard's names; one that has none ("any") demands nothing."""
    if isinstance(schema, list):
        return [_renamed(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    told = {name: _renamed(one) for name, one in schema.items()}
    kind = told.get("type")
    if isinstance(kind, str) and (kind := _TYPES.get(kind.lower(), kind.lower())) not in TYPES:
        return {name: one for name, one in told.items() if name != "type"}
    return told | ({"type": kind} if isinstance(kind, str) else {})


def _schema(value: Any) -> dict[str, Any] | None:
    """The schema that OpenAI's ``response_format`` asks for; an empty one for any JSON; None for none."""
    if not isinstance(value, Mapping) or value.get("type") not in ("json_object", "json_schema"):
        return None
    inner = value.get("json_schema", {})
    schema = inner.get("schema", {}) if isinstance(inner, Mapping) else {}
    return dict(schema) if isinstance(schema, Mapping) else {}


# --- whether an answer keeps it ---------------------------------------------------------------------------------


def unmet(problem: Problem, said: str) -> list[str] | None:
    """What of a problem's constraints a final text does not keep, in words; None where nothing was demanded."""
    meta, text = problem.metadata, said.strip()[:LONGEST]
    checks: list[tuple[str, Callable[[], list[str]]]] = [
        ("instructions", lambda: broken(text, list(meta["instructions"]), problem.language)),
        ("json_schema", lambda: against_schema(text, meta["json_schema"])),
        ("tools", lambda: against_tools(text, meta["tools"])),
    ]
    asked = [check for name, check in checks if meta.get(name) is not None]
    return [reason for check in asked for reason in check()] if asked else None


def demanded(problem: Problem) -> int:
    """How many constraints a problem has."""
    meta = problem.metadata
    return len(meta.get("instructions") or ()) + sum(
        meta.get(k) is not None for k in ("json_schema", "tools")
    )


def against_schema(text: str, schema: Mapping[str, Any]) -> list[str]:
    """Why a text is no JSON value of that schema: nothing, or the first reason."""
    try:
        value = json.loads(_FENCE.sub("", text), parse_constant=_no_number)
    except (ValueError, RecursionError):
        return ["JSON"]
    wrong = violation(value, schema)
    return [f"the JSON schema ({wrong})"] if wrong else []


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def against_tools(text: str, tools: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why a text is no call of the tools that were offered; a text without any call may be an answer in words."""
    known = {tool["name"]: tool["parameters"] for tool in tools}
    calls = _CALL.findall(text)
    if text.count("<tool_call>") != len(calls) or text.count("</tool_call>") != len(calls):
        return ["a closed <tool_call>"]
    for said in calls:
        if wrong := _bad_call(said, known):
            return [f"the tool call ({wrong})"]
    return []


def _bad_call(said: str, known: Mapping[str, Mapping[str, Any]]) -> str:
    try:
        call = json.loads(said)
    except (ValueError, RecursionError):
        return "no JSON"
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return "no name"
    if call["name"] not in known:
        return f"there is no tool {call['name'][:40]!r}"
    arguments = call.get("arguments", {})
    return violation(arguments, known[call["name"]]) if isinstance(arguments, dict) else "no arguments"


def constraints() -> Reward:
    """The share of a prompt's constraints that the final text keeps; 0 for prompts that have none."""

    def grade(problem: Problem, rollout: Rollout) -> Score:
        whole = demanded(problem)
        if not whole:
            return Score(0.0, "no constraint")
        parsed = parse(full_text(rollout))
        said = parsed.answer if parsed.answer is not None else parsed.body
        try:
            not_met = unmet(problem, said) if said.strip() else ["nothing after the thinking"] * whole
        except TooMuchError as error:
            return Score(None, str(error))
        lost = not_met or []
        return Score(1 - min(whole, len(lost)) / whole, f"does not keep {', '.join(lost)}" if lost else "")

    return per_rollout(grade)
