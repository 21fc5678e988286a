"""What an endpoint says where it refuses a request: too long for the model's context, filtered for its content, or
wrong. The first two speak of one request, and others like it may be answered.

Servers word it as they like. Read are OpenAI, Azure, vLLM, SGLang, llama.cpp and llama-cpp-python, TGI, LM Studio,
Anthropic, Gemini, xAI, Mistral, Groq, DeepSeek, OpenRouter, Together, DashScope, Zhipu, Moonshot, Cohere, Bedrock and
``aha serve``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aha.types import AhaError, Finish


class RefusedRequestError(AhaError):
    """One request is refused for what it holds: others may be answered. ``finish`` of its completion, which is none."""

    finish = Finish.ABORT


@dataclass(frozen=True, slots=True)
class ContextLimit:
    """What a refusal says of lengths, in tokens; None for what it does not say. ``room``: what is left for an answer,
    below 1 where the prompt alone is too long."""

    context: int | None = None
    room: int | None = None


class TooLongError(RefusedRequestError):
    """A request that does not fit the model's context."""

    def __init__(self, message: str, limit: ContextLimit = ContextLimit()):
        super().__init__(message)
        self.limit = limit


class FilteredError(RefusedRequestError):
    """A request whose content the endpoint does not take."""

    finish = Finish.ERROR


MAY_BE_TOO_LONG = frozenset({200, 400, 413, 422, 500})
"""Statuses under which an endpoint says that a request is too long; early llama.cpp takes it for its own failure."""
MAY_BE_FILTERED = frozenset({200, 400, 403, 422, 451})


def _words(*patterns: str) -> tuple[re.Pattern[str], ...]:
    """Wordings, in which ``#`` stands for a number."""
    return tuple(re.compile(p.replace("#", r"[\d,]+"), re.IGNORECASE) for p in patterns)


_BOTH = _words(
    # vLLM counts the prompt only as far as it must where it says "at least": that is no number to reckon with
    r"context length is (?P<context>#) tokens and your request has (?P<prompt>#) input tokens",
    r"context length is (?P<context>#) tokens.{0,80}prompt contains (?!at least)(?P<prompt>#) input tokens",
    r"context length is (?P<context>#) tokens.{0,80}(?:your request has|messages resulted in) (?P<prompt>#)",
    r"context length is (?P<context>#) tokens.{0,40}requested (?:about )?(?P<total>#) tokens "
    r"\(.*?(?P<asked>#) (?:in|of|for) the (?:completion|output)",
    r"context length of (?P<context>#) tokens.{0,60} (?P<prompt>#) tokens from the input",
    r"prompt has (?P<prompt>#) tokens.*context of (?P<context>#) tokens",
    r"exceed context limit: (?P<prompt>#) \+ # > (?P<context>#)",
    r"must be <= (?P<context>#)\. Given: (?P<prompt>#) `inputs` tokens and",
)
"""Prompt and answer together are too long, and both lengths are said."""
_PROMPT = _words(
    r"prompt is too long",
    r"input is too long",
    r"\(total length #\) is too long",
    r"prompt \(length #\) is longer than the maximum model length",
    r"input length \(?#\)? exceeds",
    r"input \(# tokens\) is longer than",
    r"`inputs` must have less than # tokens",
    r"too large for model with # maximum context",
    r"maximum prompt length is #",
    r"input token count.{0,20}exceeds",
    r"exceeds the available context size",
    r"exceed context window of #",
    r"context the overflows",
    r"number of tokens in the prompt cannot exceed",
    r"max_tokens must be at least 1, got -",
    r"range of input length",
    r"prompt exceeds max",
    r"prompt too long",
    r"(?:messages|prompt|input)\b.{0,60}string too long",
)
"""The prompt alone is too long, or its length is not told from the answer's."""
_COMPLETION = _words(
    r"supports at most (?P<room>#) completion tokens",
    r"max_(?:completion_)?tokens`? must be less than or equal to `?(?P<room>#)",
    r"range of max_(?:completion_)?tokens (?:is|should be) \[\d+, ?(?P<room>#)\]",
)
"""Answers of so many tokens are not given, whatever the prompt."""
_SOMEHOW = _words(
    r"context.?(?:length|window|size|limit)",
    r"maximum (?:model|context) length",
    r"context_length_exceeded",
    r"\b(?:prompt|input|request|conversation|message|sequence|text)s?\b.{0,40} too long",
    r"too many tokens",
    r"reduce the length of",
    r"exceeded model token limit",
)
_TOO_LARGE = re.compile(r"request[ _]too[ _]large", re.IGNORECASE)
_WINDOW = _words(r"context (?:length|window|size|limit) (?:is|of)(?: only)? (?P<context>#)")
_FILTERED = _words(
    r"content_filter|contentfilter",
    r"content management policy",
    r"content_policy_violation|responsibleaipolicyviolation",
    r"violating our usage policy",
    r"content exists risk",
    r"data_?inspection_?failed|may contain inappropriate content",
    r"requires moderation and your input was flagged",
    r"unsafe or sensitive content|不安全或敏感",
    r"considered high risk",
)


def of_one_request(status: int, raw: bytes, url: str) -> RefusedRequestError | None:
    """The error of a refusal that speaks of one request; None for any other."""
    error = _read(raw)
    said = message_of(raw)
    if status == 451 or (status in MAY_BE_FILTERED and _any(_FILTERED, error.kind)):
        return FilteredError(f"{url} does not take the request's content ({status}: {said}).")
    limit = _too_long(status, error.kind)
    if limit is None:
        return None
    return TooLongError(
        f"{url} refused the request as too long for the model ({status}: {said}). Lower max_tokens, shorten the "
        "prompt, or serve the model with a longer context.",
        limit,
    )


def _any(patterns: tuple[re.Pattern[str], ...], text: str) -> re.Match[str] | None:
    return next((match for p in patterns if (match := p.search(text))), None)


def _too_long(status: int, said: str) -> ContextLimit | None:
    """What a refusal says of lengths; None where it speaks of something else."""
    if status == 413 or (status in (*MAY_BE_TOO_LONG, 429) and _TOO_LARGE.search(said)):
        return ContextLimit()  # of bytes, or of a minute's tokens: a shorter answer may pass
    if status not in MAY_BE_TOO_LONG:
        return None
    if match := _any(_BOTH, said):
        return _both({name: _number(value) for name, value in match.groupdict().items() if value})
    if _any(_PROMPT, said):
        return ContextLimit(room=0)
    if status >= 500:
        return None
    if match := _any(_COMPLETION, said):
        return ContextLimit(room=_number(match["room"]))
    if _any(_SOMEHOW, said):
        window = _any(_WINDOW, said)
        return ContextLimit(_number(window["context"]) if window else None)
    return None


def _both(told: Mapping[str, int]) -> ContextLimit:
    prompt = told["prompt"] if "prompt" in told else told["total"] - told["asked"]
    return ContextLimit(told["context"], told["context"] - prompt)


def _number(text: str) -> int:
    return int(text.replace(",", ""))


# --- bodies ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _ErrorBody:
    """What an error says: ``shown`` to people, ``kind``: by which it is told from others. What else a body has may be
    the request's own words."""

    shown: str
    kind: str


def message_of(raw: bytes) -> str:
    """What an error's body says, in at most 300 characters, with the field that it names."""
    shown = "".join(c if c.isprintable() else " " for c in _read(raw).shown)  # it goes to a terminal
    return " ".join(shown.split())[:300] or "no reason given"


def _read(raw: bytes) -> _ErrorBody:
    text = raw.decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return _ErrorBody(text, text[:4000])
    first = body[0] if isinstance(body, list) and body else body
    detail = first.get("error") or first.get("detail") or first if isinstance(first, dict) else first
    if isinstance(detail, list):  # FastAPI's list of what is wrong with which field
        said = "; ".join(map(_of_field, detail))
        return _ErrorBody(said, said)
    if not isinstance(detail, dict):
        outer = str(first.get("error_type") or "") if isinstance(first, dict) else ""
        return _ErrorBody(str(detail), f"{detail} {outer}")
    parts = [str(detail[key]) for key in ("message", "code") if detail.get(key)]
    field, inner = detail.get("param"), detail.get("innererror")
    named = isinstance(field, str) and field and field not in " ".join(parts)
    shown = " ".join(parts + [f"(field {field})"] * bool(named)) or str(detail)
    codes = [detail.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    return _ErrorBody(shown, " ".join([*parts, *(str(code) for code in codes if code)]))


def _of_field(one: Any) -> str:
    """One complaint of FastAPI: where, and what."""
    if not isinstance(one, dict) or "msg" not in one:
        return str(one)
    place = one.get("loc")
    where = ".".join(map(str, place)) if isinstance(place, list) else ""
    return f"{where}: {one['msg']}" if where else str(one["msg"])
