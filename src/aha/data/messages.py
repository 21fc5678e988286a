"""Messages as data sets write them (OpenAI's, ShareGPT's, transcripts in one text), in one form.

A message has role and content, and ``reasoning``, ``tool_calls``, ``tool_call_id`` and ``name`` where it came
with them. What cannot be kept raises ValueError, so that its row is set aside with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]
ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "bot": "assistant", "chatgpt":
    "assistant", "bing": "assistant", "bard": "assistant", "model": "assistant", "system": "system", "developer":
    "system", "tool": "tool", "observation": "tool", "function_response": "tool", "ipython": "tool",
    "function": "tool", "function_call": "assistant", "tool_call": "assistant",
}  # fmt: skip
_CALLS = ("function_call", "tool_call")
_KEPT = ("tool_call_id", "name")
_SPOKEN = re.compile(r"(?:^|\n\n)(Human|Assistant|System):[ \t]?")
_THOUGHT = re.compile(
    r"\s*<\|begin_of_thought\|>(.*?)<\|end_of_thought\|>\s*<\|begin_of_solution\|>(.*?)(?:<\|end_of_solution\|>)?\s*",
    re.DOTALL,
)


def read_messages(value: Any) -> tuple[Message, ...]:
    """Messages in any of the forms; a text is a transcript if it is one, else one user message."""
    if isinstance(value, str):
        return transcript(value) or ({"role": "user", "content": value},)
    if not isinstance(value, Sequence) or not value or not all(isinstance(m, Mapping) for m in value):
        raise ValueError(f"messages are {_kind(value)}, not a list of messages")
    return tuple(read_message(m) for m in value)


def read_message(message: Mapping[str, Any]) -> Message:
    """One message. OpenThoughts' marks around thought and solution, and a function call that is the message's
    text (LLaMA-Factory), are read as what they stand for."""
    said = str(message.get("role", message.get("from", ""))).lower()
    if said not in ROLES:
        raise ValueError(f"a message's role is {said!r}")
    content = _content(message.get("content", message.get("value")))
    turn: dict[str, Any] = {"role": ROLES[said], "content": content}
    turn |= {key: message[key] for key in _KEPT if isinstance(message.get(key), str) and message[key]}
    reasoning = message.get("reasoning") or message.get("reasoning_content")
    if isinstance(reasoning, str) and reasoning:
        turn["reasoning"] = reasoning
    elif turn["role"] == "assistant" and (marked := _THOUGHT.fullmatch(content)):
        turn |= {"reasoning": marked[1].strip(), "content": marked[2].strip()}
    calls = _calls(content) if said in _CALLS else message.get("tool_calls") or _old_call(message)
    if calls:
        turn["tool_calls"] = _checked(calls)
        turn["content"] = "" if said in _CALLS else turn["content"]
    return turn


def _content(value: Any) -> str:
    """A message's text; parts of type text are put together, others refused."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and all(isinstance(p, Mapping) and p.get("type") == "text" for p in value):
        return "".join(str(p.get("text", "")) for p in value)
    if value is None:
        return ""
    if isinstance(value, Sequence) and (others := [p.get("type") for p in value if isinstance(p, Mapping)]):
        named = next((str(kind) for kind in others if kind != "text"), "another type")
        raise ValueError(f"content holds a part of type {named}: text alone is read")
    raise ValueError(f"content is {_kind(value)}, not text")


def _calls(text: str) -> list[Any]:
    """The calls that a message's text is: ``{"name": ..., "arguments": ...}``, or several in a list."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"a function call is no JSON: {text[:60]!r}") from error
    return value if isinstance(value, list) else [value]


def _old_call(message: Mapping[str, Any]) -> list[Any]:
    """OpenAI's older field for the one call of a message."""
    call = message.get("function_call")
    return [call] if isinstance(call, Mapping) and call.get("name") else []


def _checked(calls: Any) -> list[dict[str, Any]]:
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        raise ValueError(f"tool_calls are {_kind(calls)}, not a list")
    checked = []
    for call in calls:
        function = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise ValueError(f"a tool call names no function: {str(call)[:60]}")
        called = {
            "type": "function",
            "function": {"name": function["name"], "arguments": _arguments(function)},
        }
        checked.append(called | ({"id": call["id"]} if isinstance(call.get("id"), str) else {}))
    return checked


def _arguments(function: Mapping[str, Any]) -> Any:
    """Arguments as an object, which templates write out; a text that is none stays as it is."""
    arguments = function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            return json.loads(arguments)
        except ValueError:
            return arguments
    return arguments if arguments is not None else {}


def read_tools(value: Any) -> tuple[Any, ...]:
    """The tools that a row offers: a list, or a list as JSON in a text; none where there are none."""
    if isinstance(value, str):
        if not value.strip():
            return ()
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f"its tools are no JSON: {value[:60]!r}") from error
    if value is None:
        return ()
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, Sequence) or not all(isinstance(tool, Mapping) for tool in value):
        raise ValueError(f"its tools are {_kind(value)}, not a list of objects")
    return tuple(value)


LABEL_WORDS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}
"""A label as text, as CSV files have it."""


def read_label(row: Mapping[str, Any], strict: bool = False) -> float | None:
    """How good the row says that its last answer is (TRL's ``label``, LLaMA-Factory's ``kto_tag``), if it does. Another
    value is another column's matter; if ``strict``, ValueError."""
    value = row.get("label", row.get("kto_tag"))
    if isinstance(value, str):
        value = LABEL_WORDS.get(value.strip().lower(), value)
    if isinstance(value, (bool, int, float)):
        return float(value)
    if value is not None and strict:
        raise ValueError(f"its label is {str(value)[:40]!r}, not true or false")
    return None


def transcript(text: str) -> tuple[Message, ...]:
    """The messages of a text that is one: ``\\n\\nHuman: ... \\n\\nAssistant: ...`` (HH-RLHF); else none."""
    if "Human:" not in text[:200] or "Assistant:" not in text:
        return ()
    parts = _SPOKEN.split(text)
    if parts[0].strip() or len(parts) < 3:
        return ()
    names = {"Human": "user", "Assistant": "assistant", "System": "system"}
    return tuple(
        {"role": names[name], "content": said.strip()}
        for name, said in zip(parts[1::2], parts[2::2], strict=True)
    )


def with_system(messages: tuple[Message, ...], said: Any) -> tuple[Message, ...]:
    """The messages with a system message in front, unless they have one or nothing is said."""
    if not isinstance(said, str) or not said.strip() or messages[0]["role"] == "system":
        return messages
    return ({"role": "system", "content": said}, *messages)


def pair(prompt: Any, chosen: Any, rejected: Any) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """(the prompt and the chosen answer, the rejected answer) of a preference row, the prompt once.

    Sides are answers, or whole conversations whose prompt stands in them, whether or not it also stands in a
    column of its own. ValueError where the sides part before their last answers, or one has none.
    """
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if side is None or not side:
            raise ValueError(f"its {name} side is {'null' if side is None else 'empty'}")
    sides = [_side(prompt, side) for side in (chosen, rejected)]
    if prompt is None and all(isinstance(side, str) for side in (chosen, rejected)) and not all(sides):
        return _text_pair(chosen, rejected)
    before = [() if prompt is None else read_messages(prompt)] * 2
    wholes = [
        side if _holds(side, start) else (*start, *side) for side, start in zip(sides, before, strict=True)
    ]
    shared = 0
    while shared < min(map(len, wholes)) - 1 and _same(wholes[0][shared], wholes[1][shared]):
        shared += 1
    if any(len(whole) - shared != 1 or whole[-1]["role"] != "assistant" for whole in wholes):
        raise ValueError("its sides part before the last answer, or do not end in one")
    if not shared:
        raise ValueError("it has no prompt")
    return wholes[0], wholes[1][shared:]


def _side(prompt: Any, side: Any) -> tuple[Message, ...]:
    if isinstance(side, str):
        return transcript(side) or ((({"role": "assistant", "content": side},)) if prompt is not None else ())
    return (read_message(side),) if isinstance(side, Mapping) else read_messages(side)


def _holds(side: tuple[Message, ...], prompt: tuple[Message, ...]) -> bool:
    """Whether a side is a whole conversation with the prompt in it already."""
    users = [m["content"].strip() for m in side if m["role"] == "user"]
    asked = [m["content"].strip() for m in prompt if m["role"] == "user"]
    return not prompt or (bool(users) and (not asked or asked[-1] in users))


def _same(a: Message, b: Message) -> bool:
    return {**a, "content": a["content"].strip()} == {**b, "content": b["content"].strip()}


def _text_pair(chosen: str, rejected: str) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """Two texts that begin alike: what they share, up to a space, is the prompt."""
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    cut = max(chosen.rfind(" ", 0, shared + 1), chosen.rfind("\n", 0, shared + 1))
    if cut <= 0:
        raise ValueError("it has no prompt: its sides begin differently")
    asked = {"role": "user", "content": chosen[:cut]}
    yes, no = ({"role": "assistant", "content": side[cut:]} for side in (chosen, rejected))
    if not (yes["content"].strip() and no["content"].strip()):
        raise ValueError("one of its sides is the beginning of the other")
    return (asked, yes), (no,)


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__
