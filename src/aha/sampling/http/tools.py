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
    """The functions that a request offers, and whether one must be called: any, or the one ``named``."""

    offered: tuple[Mapping[str, Any], ...]
    must_call: bool = False
    named: str | None = None

    def schema(self) -> str:
        """The JSON schema of one call: ``{"name": ..., "arguments": {...}}``."""
        calls = [
            {
                "type": "object",
                "properties": {
                    "name": {"const": tool["function"]["name"]},
                    "arguments": _closed(tool["function"].get("parameters") or {"type": "object"}),
                },
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for tool in self.offered
            if self.named in (None, tool["function"]["name"])
        ]
        return json.dumps(calls[0] if len(calls) == 1 else {"anyOf": calls})


def _closed(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parameters without others than those named, unless the schema says itself what it allows: a model made to call
    would otherwise go on inventing some."""
    return {"additionalProperties": False, **parameters} if parameters.get("properties") else parameters


def read_tools(offered: Any, choice: Any) -> Tools | None:
    """The ``tools`` and ``tool_choice`` of a request; None where there are none. Raises AhaError naming the field."""
    if not offered:
        if choice not in (None, "none", "auto"):
            raise _refused("tool_choice asks for a call, but there are no tools", "tool_choice")
        return None
    if not isinstance(offered, list) or not all(map(_is_function, offered)):
        raise _refused("tools must be a list of {type: 'function', function: {name, parameters}}", "tools")
    names = [tool["function"]["name"] for tool in offered]
    if choice == "none":
        return None
    if choice in (None, "auto"):
        return Tools(tuple(offered))
    if choice == "required":
        return Tools(tuple(offered), must_call=True)
    named = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    if named not in names:
        raise _refused(
            f"tool_choice must be none, auto, required or one of the functions {', '.join(names)}",
            "tool_choice",
        )
    return Tools(tuple(offered), must_call=True, named=named)


def _is_function(tool: Any) -> bool:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    return (
        isinstance(function, dict)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("parameters") or {}, dict)
    )


def _refused(message: str, field: str) -> AhaError:
    return RequestRefusedError(message, field)


def find_calls(text: str, tools: Tools) -> tuple[str, list[dict[str, Any]]]:
    """(what the answer says besides, its calls in OpenAI's form). Calls of functions that were not offered, and what
    is no JSON, stay in the text."""
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
