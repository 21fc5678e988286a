"""The messages of a request, checked: what a model could not be shown is refused, never dropped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aha.sampling.http.refusing import RequestRefusedError
from aha.types import Message

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
SHOWN = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "reasoning", "reasoning_content"})
NOTES = frozenset(
    {
        "id", "object", "type", "status", "refusal", "annotations", "parsed", "metadata", "timestamp", "created",
        "created_at",
        "reasoning_details", "provider_specific_fields", "cache_control", "model", "usage", "finish_reason",
    }
)  # fmt: skip
"""What clients keep with a message and send back: nothing of it is said to a model."""


def read_messages(value: Any) -> tuple[Message, ...]:
    """The messages with texts as contents. Raises RequestRefusedError naming the message that cannot be shown."""
    if not isinstance(value, list) or not value:
        raise RequestRefusedError("messages must be a list of at least one {role, content}", "messages")
    return tuple(_message(item, f"messages[{i}]") for i, item in enumerate(value))


def texts_of(messages: Sequence[Message]) -> list[str]:
    """What the messages say."""
    return [str(m.get("content", "")) for m in messages]


def _message(item: Any, where: str) -> Message:
    if not isinstance(item, dict) or item.get("role") not in ROLES:
        raise _refused(f"{where} must be an object with a role among {', '.join(ROLES)}")
    role, calls = item["role"], item.get("tool_calls") or None
    _only_shown(item, where)
    content = item.get("content")
    if content is None and role == "assistant":
        content = item.get("refusal")
    if content is None and not calls:
        raise _refused(f"{where} ({role}) must have content: a text, or a list of text parts")
    message = {
        k: v for k, v in item.items() if v is not None and k in SHOWN - {"content", "role", "tool_calls"}
    }
    message["role"] = "system" if role == "developer" else role
    message["content"] = "" if content is None else _content(content, where)
    if calls is not None:
        if role != "assistant":
            raise _refused(f"{where} ({role}) has tool_calls, which are an assistant's")
        message["tool_calls"] = _calls(calls, where)
    return message


def _only_shown(item: Mapping[str, Any], where: str) -> None:
    for name, value in item.items():
        if name not in SHOWN | NOTES and value not in (None, [], {}, False, ""):
            raise _refused(f"{where}.{name} is not read here: a message has a role, a content and tool calls")
    for name in ("name", "tool_call_id"):
        if not isinstance(item.get(name), str | None):
            raise _refused(f"{where}.{name} must be a text")


def _content(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _refused(f"{where}.content must be a text or a list of text parts")
    texts = [_part(part, where) for part in content]
    return "\n".join(texts) if len(texts) > 1 else "".join(texts)


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else None
    field = "refusal" if kind == "refusal" else "text"
    if kind not in ("text", "input_text", "output_text", "refusal") or not isinstance(part.get(field), str):
        raise _refused(f"{where}.content holds a part of type {kind!r}: only text is read here")
    return part[field]


def _calls(calls: Any, where: str) -> list[dict[str, Any]]:
    """Tool calls with their arguments as objects, which is what chat templates write out."""
    checked = []
    for item in calls if isinstance(calls, list) else [None]:
        call: dict[str, Any] = item if isinstance(item, dict) else {}
        function = call.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise _refused(f"{where}.tool_calls must be a list of {{type, function: {{name, arguments}}}}")
        checked.append({**call, "function": {**function, "arguments": _arguments(function, where)}})
    return checked


def _arguments(function: Mapping[str, Any], where: str) -> dict[str, Any]:
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            raise _refused(f"{where}.tool_calls: arguments are no JSON") from None
    if not isinstance(arguments, dict):
        raise _refused(f"{where}.tool_calls: arguments must be a JSON object")
    return arguments


def _refused(message: str) -> RequestRefusedError:
    return RequestRefusedError(message, "messages")
