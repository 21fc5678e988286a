"""Tools: what a request offers, how a model's answer calls them, and the schema that makes it call one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aha.sampling.http.refusing import RequestRefusedError
from aha.types import AhaError

MARKS = (
    ("<tool_call>", "</tool_call>"),
    ("<|tool_call|>", "<|/tool_call|>"),
    ("[TOOL_CALLS]", ""),
    ("<|python_tag|>", ""),
)
"""How families write a call down: Qwen and Hermes, Granite, Mistral, Llama 3."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The functions that a request offers, whether one must be called (any, or the one ``named``), and whether an
    answer may call ``several``."""

    offered: tuple[Mapping[str, Any], ...]
    must_call: bool = False
    named: str | None = None
    several: bool = True

    def schema(self) -> str:
        """The JSON schema of one call: ``{"name": ..., "arguments": {...}}``. Each function's parameters are a
        definition of their own, to which the references inside them are bent."""
        functions = [tool["function"] for tool in self.offered]
        functions = [function for function in functions if self.named in (None, function["name"])]
        calls = [
            {
                "type": "object",
                "properties": {"name": {"const": function["name"]}, "arguments": {"$ref": f"#/$defs/{i}"}},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for i, function in enumerate(functions)
        ]
        definitions = {
            str(i): _moved(_closed(function.get("parameters") or {"type": "object"}), f"#/$defs/{i}")
            for i, function in enumerate(functions)
        }
        return json.dumps({"$defs": definitions, **(calls[0] if len(calls) == 1 else {"anyOf": calls})})


def _moved(schema: Any, place: str) -> Any:
    """A schema that stands at ``place`` now: its references to its own root go there."""
    if isinstance(schema, list):
        return [_moved(item, place) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {
        name: place + value[1:]
        if name == "$ref" and isinstance(value, str) and value.startswith("#")
        else value
        if name in ("const", "enum", "default", "examples")
        else _moved(value, place)
        for name, value in schema.items()
    }


def _closed(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parameters without others than those named, unless the schema says itself what it allows: a model made to call
    would otherwise go on inventing some."""
    return {"additionalProperties": False, **parameters} if parameters.get("properties") else parameters


def read_tools(offered: Any, choice: Any, several: bool = True) -> Tools | None:
    """The ``tools``, ``tool_choice`` and ``parallel_tool_calls`` of a request; None where there are none. Raises
    AhaError naming the field."""
    if offered is None or offered == []:
        if choice not in (None, "none", "auto"):
            raise _refused("tool_choice asks for a call, but there are no tools", "tool_choice")
        return None
    if not isinstance(offered, list) or not all(map(_is_function, offered)):
        raise _refused(
            "tools must be a list of {type: 'function', function: {name, description, parameters, strict}}",
            "tools",
        )
    names = [tool["function"]["name"] for tool in offered]
    if len({*names}) < len(names):
        raise _refused("tools holds two functions of one name", "tools")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        chosen, choice = _allowed(choice)
        if not chosen or not {*chosen} <= {*names}:
            raise _refused("tool_choice.allowed_tools must name some of the tools", "tool_choice")
        offered = [tool for tool in offered if tool["function"]["name"] in chosen]
    if choice == "none":
        return None
    if choice in (None, "auto", "required"):
        return Tools(tuple(offered), must_call=choice == "required", several=several)
    named = _name_of(choice)
    if named not in names:
        raise _refused(
            f"tool_choice must be none, auto, required or one of the functions {', '.join(names)}",
            "tool_choice",
        )
    return Tools(tuple(offered), must_call=True, named=named, several=several)


def _allowed(choice: Mapping[str, Any]) -> tuple[list[Any], Any]:
    """(names, mode) of a choice among some of the tools."""
    some = choice.get("allowed_tools")
    if not isinstance(some, dict) or some.get("mode") not in ("auto", "required"):
        raise _refused(
            "tool_choice.allowed_tools must hold a mode, auto or required, and tools", "tool_choice"
        )
    tools = some.get("tools")
    return [_name_of(tool) for tool in tools] if isinstance(tools, list) else [], some["mode"]


def _name_of(choice: Any) -> str | None:
    """The name in ``{type: "function", function: {name}}``; None for anything else."""
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def _is_function(tool: Any) -> bool:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    return (
        isinstance(function, dict)
        and isinstance(function.get("name"), str)
        and bool(function["name"])
        and isinstance(function.get("description"), str | None)
        and isinstance(function.get("strict"), bool | None)
        and isinstance(function.get("parameters"), dict | None)
    )


def _refused(message: str, field: str) -> AhaError:
    return RequestRefusedError(message, field)


def find_calls(text: str, tools: Tools) -> tuple[str, list[dict[str, Any]]]:
    """(what the answer says besides, its calls in OpenAI's form). Calls of functions that were not offered, and what
    is no JSON, stay in the text. Of several calls where one was allowed the first counts."""
    said, calls = _all_calls(text, tools)
    return said, calls if tools.several else calls[:1]


def _all_calls(text: str, tools: Tools) -> tuple[str, list[dict[str, Any]]]:
    known = {tool["function"]["name"] for tool in tools.offered}
    calls: list[dict[str, Any]] = []
    for begin, end in MARKS:
        if begin in text:
            said, *parts = text.split(begin)
            for part in parts:
                inside, _, after = part.partition(end) if end else (part, "", "")
                parsed = _calls_of(inside, known)
                calls += parsed
                said += after if parsed else begin + part
            return (said.strip(), calls) if calls else (text, [])
    calls = _calls_of(text, known)
    return ("", calls) if calls else (text, [])


def _calls_of(text: str, known: set[str]) -> list[dict[str, Any]]:
    try:
        value = json.loads(text.strip())
    except (ValueError, RecursionError):
        return []
    calls = []
    for item in value if isinstance(value, list) else [value]:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or name not in known:
            return []
        arguments = item.get("arguments", item.get("parameters", {}))
        written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        function = {"name": name, "arguments": written}
        calls.append({"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function})
    return calls
