"""Tools for models whose chat template knows none: they are told of them in words, in the form of Hermes, which
``tools.find_calls`` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aha.types import Message

TOLD = """\
You may call functions to answer. These are the functions, as JSON:
{tools}
To call one, write nothing but:
<tool_call>
{{"name": "the function's name", "arguments": {{"the argument's name": "its value"}}}}
</tool_call>
What it returns comes back between <tool_response> and </tool_response>."""
PROBE = ({"type": "function", "function": {"name": "probe", "parameters": {"type": "object"}}},)
"""A tool by which a template shows whether it writes tools down."""


def in_words(
    messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, fold: bool = False
) -> list[Message]:
    """The messages with the tools told in the system message, or with ``fold`` in front of the first question; calls
    and what they returned stand in them as text."""
    said: list[Message] = []
    for before, message in zip([None, *messages], messages, strict=False):
        told = _in_words(message)
        if before is not None and before["role"] == message["role"] == "tool":
            # of calls made together: many templates want a user's turn to be one message
            told = {**told, "content": f"{said.pop()['content']}\n{told['content']}"}
        said.append(told)
    return _with_tools(said, tools, "user" if fold else "system") if tools else said


def _with_tools(said: list[Message], tools: Sequence[Mapping[str, Any]], role: str) -> list[Message]:
    told = TOLD.format(tools="\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools))
    at = next((i for i, message in enumerate(said) if message["role"] == role), None)
    if at is None:
        return [{"role": role, "content": told}, *said]
    said[at] = {**said[at], "content": f"{told}\n\n{said[at]['content']}".strip()}
    return said


def _in_words(message: Message) -> Message:
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    if not message.get("tool_calls"):
        return message
    calls_made: Any = message["tool_calls"]
    calls = "\n".join(f"<tool_call>\n{_call(call)}\n</tool_call>" for call in calls_made)
    rest = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**rest, "content": f"{message['content']}\n{calls}".strip()}


def _call(call: Mapping[str, Any]) -> str:
    function = call["function"]
    return json.dumps(
        {"name": function["name"], "arguments": function.get("arguments", {})}, ensure_ascii=False
    )
