"""What an endpoint's answer says: read strictly, before it is used or kept, since endpoints differ and break."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aha.types import AhaError, Finish

BROKEN_OFF = frozenset({"error", "insufficient_system_resource", "network_error", "malformed_function_call"})
"""Reasons to finish that are none: the endpoint could not go on."""
TOO_LONG = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "max_new_tokens"})
FILTERED = "content_filter"
MOST_TOKENS = 1 << 24
THINK, END_THINK = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class EndpointReply:
    """One choice of an answer. ``text`` holds the reasoning, if there is any, between think tags."""

    text: str
    reasoning: str | None
    content: str
    finish: Finish
    prompt_tokens: int
    completion_tokens: int
    prompt_ids: tuple[int, ...] = ()
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()


def read_replies(answer: Mapping[str, Any]) -> list[EndpointReply]:
    """Every choice of a chat or a text completion, in the order of their indices. Raises AhaError, which names
    the cause, for an answer that says nothing, was broken off, or holds what cannot be read."""
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise AhaError(f"it has no choices: {str(answer)[:120]}")
    prompt, completion = tokens_used(answer)
    replies = [
        (_index(c, i), _reply(c, prompt, completion // len(choices), answer)) for i, c in enumerate(choices)
    ]
    return [reply for _, reply in sorted(replies, key=lambda one: one[0])]


def tokens_used(answer: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens of the prompt and of the completions; 0 where the answer does not say, or says what is no number."""
    used = answer.get("usage")
    used = used if isinstance(used, Mapping) else {}
    return _count(used.get("prompt_tokens")), _count(used.get("completion_tokens"))


def _count(value: Any) -> int:
    is_count = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return int(value) if is_count else 0


def _index(choice: Any, place: int) -> int:
    index = choice.get("index") if isinstance(choice, Mapping) else None
    return index if type(index) is int else place


def _reply(choice: Any, prompt: int, completion: int, answer: Mapping[str, Any]) -> EndpointReply:
    if not isinstance(choice, Mapping):
        raise AhaError("a choice is no object")
    if choice.get("error") or _lower(choice.get("finish_reason")) in BROKEN_OFF:
        why = choice.get("error") or f"finish_reason {choice.get('finish_reason')!r}"
        raise AhaError(f"a choice was broken off: {str(why)[:120]}")
    message = choice.get("message", choice)
    if not isinstance(message, Mapping):
        raise AhaError("a choice's message is no object")
    content, reasoning = _said(message, choice)
    ids = _ids(choice.get("token_ids"), "token_ids")
    prompt_ids = _ids(choice.get("prompt_token_ids") or answer.get("prompt_token_ids"), "prompt_token_ids")
    return EndpointReply(
        f"{THINK}{reasoning}{END_THINK}{content}" if reasoning else content,
        reasoning or None,
        content,
        _finish(choice.get("finish_reason")),
        prompt,
        len(ids) or completion,
        prompt_ids,
        ids,
        _logprobs(choice.get("logprobs")),
    )


def _said(message: Mapping[str, Any], choice: Mapping[str, Any]) -> tuple[str, str]:
    """(content, reasoning) of a message. An empty text says that the model ended at once; no text says nothing."""
    raw = message.get("content", message.get("text"))
    content, thought = _parts(raw)
    refusal = message.get("refusal")
    content = content or (refusal if isinstance(refusal, str) else "")
    reasoning = _thought(message.get("reasoning")) or _thought(message.get("reasoning_content")) or thought
    calls = message.get("tool_calls")
    filtered = (
        _lower(choice.get("finish_reason")) == FILTERED
    )  # nothing is left of it, and asking again gives no more
    if not (isinstance(raw, str) or content or reasoning or filtered or (isinstance(calls, list) and calls)):
        raise AhaError(
            f"a choice has neither content nor reasoning (finish_reason {choice.get('finish_reason')!r})"
        )
    return _without(content, reasoning), reasoning


def _without(content: str, reasoning: str) -> str:
    """The content less a thinking at its front that was sent apart as well."""
    inside, end, rest = content.lstrip().removeprefix(THINK).partition(END_THINK)
    twice = reasoning and end and content.lstrip().startswith(THINK) and inside.strip() == reasoning.strip()
    return rest.lstrip() if twice else content


def _thought(value: Any) -> str:
    """A reasoning: a text, parts, or an object around either."""
    if isinstance(value, Mapping):
        value = next((value[k] for k in ("text", "content", "thinking", "summary") if value.get(k)), "")
    return "".join(_parts(value))


def _parts(content: Any) -> tuple[str, str]:
    """(text, reasoning) of a content: a text, or a list of parts, of which some endpoints send thinking as one kind
    (Mistral: ``{"type": "thinking", "thinking": [parts]}``)."""
    if isinstance(content, str):
        return content, ""
    texts, thoughts = [], []
    for part in content if isinstance(content, list) else []:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping) and part.get("type") in ("thinking", "reasoning"):
            thoughts.append("".join(_parts(part.get("thinking", part.get("text", "")))))
        elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
            texts.append(part["text"])
    return "".join(texts), "".join(thoughts)


def _lower(reason: Any) -> str:
    return reason.lower() if isinstance(reason, str) else ""


def _finish(reason: Any) -> Finish:
    word = _lower(reason)
    if word in TOO_LONG:
        return Finish.LENGTH
    if word == FILTERED:
        return Finish.ERROR
    return Finish.ABORT if word == "abort" else Finish.STOP


def _ids(value: Any, name: str) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(type(i) is int and 0 <= i < 1 << 31 for i in value):
        raise AhaError(f"its {name} are no token ids: {str(value)[:80]}")
    return tuple(value)


def _logprobs(logprobs: Any) -> tuple[float, ...]:
    if not isinstance(logprobs, Mapping):
        return ()
    values = logprobs.get("token_logprobs")
    if not isinstance(values, list):
        content = logprobs.get("content") or ()
        entries = content if isinstance(content, Sequence) and not isinstance(content, str) else [None]
        values = [one.get("logprob", "missing") if isinstance(one, Mapping) else "missing" for one in entries]
    if not all(x is None or (isinstance(x, (int, float)) and not isinstance(x, bool)) for x in values):
        raise AhaError(f"its logprobs are no numbers: {str(logprobs)[:80]}")
    return tuple(math.nan if x is None else float(x) for x in values)
