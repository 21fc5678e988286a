"""Answers in OpenAI's form, whole or as the chunks of a stream."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aha.sampling.client.engine import message_with_reasoning
from aha.sampling.http.asked import CompletionRequest
from aha.sampling.http.text import Splitter
from aha.sampling.http.tools import find_calls
from aha.sampling.http.work import Choice, TextDelta, TokenScore

IMPOSSIBLE = -9999.0
"""The log probability of a token that cannot be drawn, as OpenAI writes it: JSON knows no infinity."""


class Answer:
    """The answer to one request: what all its parts have in common."""

    def __init__(self, asked: CompletionRequest, opened: bool = False):
        self.asked = asked
        kind = ("chat.completion" if asked.is_chat else "text_completion") + (
            ".chunk" if asked.stream and asked.is_chat else ""
        )
        self.head = {
            "id": ("chatcmpl-" if asked.is_chat else "cmpl-") + uuid.uuid4().hex,
            "object": kind,
            "created": int(time.time()),
            "model": asked.model,
        }
        self.opened = opened
        self._split: dict[int, Splitter] = {}
        self._offsets: dict[int, int] = {}

    def whole(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """The finished answer."""
        return self.head | {
            "choices": [self._choice(i, c) for i, c in enumerate(choices)],
            "usage": self.usage(choices),
        }

    def usage(self, choices: Sequence[Choice]) -> dict[str, int]:
        """Tokens of the prompts and of all choices."""
        prompt = sum(c.prompt_tokens for c in choices[:: self.asked.sampling.n])
        sampled = sum(c.completion_tokens for c in choices)
        return {"prompt_tokens": prompt, "completion_tokens": sampled, "total_tokens": prompt + sampled}

    def _choice(self, index: int, choice: Choice) -> dict[str, Any]:
        answer: dict[str, Any] = {"index": index, "finish_reason": choice.finish}
        if self.asked.is_chat:
            message, called = self._message(choice)
            answer |= {"message": message, "finish_reason": "tool_calls" if called else choice.finish}
        else:
            answer["text"] = choice.prompt_text + choice.text
        answer["logprobs"] = (
            self._logprobs(index, (*choice.prompt_scores, *choice.scores)) if self.asked.logprobs else None
        )
        return answer | self._ids(choice)

    def _ids(self, choice: Choice) -> dict[str, Any]:
        if not self.asked.token_ids:
            return {}
        return {"token_ids": list(choice.token_ids), "prompt_token_ids": list(choice.prompt_ids)}

    def _message(self, choice: Choice) -> tuple[dict[str, Any], bool]:
        """The assistant's message, and whether it calls a tool."""
        message: dict[str, Any] = message_with_reasoning(("<think>" if choice.opened else "") + choice.text)
        calls: list[dict[str, Any]] = []
        if self.asked.tools is not None:
            message["content"], calls = find_calls(message["content"], self.asked.tools)
        if calls:
            message |= {"content": message["content"] or None, "tool_calls": calls}
        return message, bool(calls)

    def _logprobs(self, index: int, scores: Sequence[TokenScore]) -> dict[str, Any]:
        if self.asked.is_chat:
            return {"content": [_chat_score(s) for s in scores], "refusal": None}
        offsets, at = [], self._offsets.get(index, 0)
        for score in scores:
            offsets.append(at)
            at += len(score.text)
        self._offsets[index] = at
        return {
            "tokens": [s.text for s in scores],
            "token_logprobs": [_finite(s.logprob) for s in scores],
            "top_logprobs": [_text_top(s) for s in scores] if self.asked.top_logprobs else None,
            "text_offset": offsets,
        }

    # --- streams -------------------------------------------------------------------------------------------

    def first_chunks(self, count: int) -> Iterator[dict[str, Any]]:
        """What comes before any text: of a chat the role of each choice."""
        if self.asked.is_chat:
            for i in range(count):
                yield self._chunk(i, {"delta": {"role": "assistant", "content": ""}})

    def chunks(self, piece: TextDelta) -> Iterator[dict[str, Any]]:
        """The chunks of one piece. Where tools are offered a content is told when it is whole, for it may be a call."""
        scores = self._logprobs(piece.index, piece.scores) if piece.scores else None
        if not self.asked.is_chat:
            yield self._chunk(piece.index, {"text": piece.text, "logprobs": scores})
            return
        parts = self._splitter(piece.index).feed(piece.text)
        if self.asked.tools is not None:
            parts = [part for part in parts if part[0] == "reasoning"]
        deltas: list[dict[str, Any]] = [_delta(kind, text) for kind, text in parts] or (
            [{}] if scores else []
        )
        for delta in deltas:
            yield self._chunk(piece.index, {"delta": delta, "logprobs": scores})
            scores = None

    def last_chunks(self, index: int, choice: Choice) -> Iterator[dict[str, Any]]:
        """What is left of a choice, and why it ended."""
        more = self._ids(choice)
        if not self.asked.is_chat:
            yield self._chunk(index, {"text": "", "finish_reason": choice.finish, **more})
            return
        finish = choice.finish
        left = self._splitter(index).close()
        if self.asked.tools is not None:
            left = [part for part in left if part[0] == "reasoning"]
            message, called = self._message(choice)
            if message.get("content"):
                left.append(("content", message["content"]))
            if called:
                calls = [{"index": i, **call} for i, call in enumerate(message["tool_calls"])]
                yield self._chunk(index, {"delta": {"tool_calls": calls}})
                finish = "tool_calls"
        for kind, text in left:
            yield self._chunk(index, {"delta": _delta(kind, text)})
        yield self._chunk(index, {"delta": {}, "finish_reason": finish, **more})

    def usage_chunk(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """The last chunk where ``stream_options.include_usage`` asks for it."""
        return self.head | {"choices": [], "usage": self.usage(choices)}

    def _splitter(self, index: int) -> Splitter:
        return self._split.setdefault(index, Splitter(self.opened))

    def _chunk(self, index: int, choice: Mapping[str, Any]) -> dict[str, Any]:
        full = {"index": index, "finish_reason": None, "logprobs": None, **choice}
        return self.head | {"choices": [full]} | ({"usage": None} if self.asked.usage else {})


def _delta(kind: str, text: str) -> dict[str, str]:
    return {"content": text} if kind == "content" else {"reasoning": text, "reasoning_content": text}


def _finite(logprob: float | None) -> float | None:
    return None if logprob is None else max(logprob, IMPOSSIBLE)


def _chat_score(score: TokenScore) -> dict[str, Any]:
    top = [{"token": text, "logprob": _finite(value), "bytes": list(raw)} for text, raw, value in score.top]
    return {
        "token": score.text,
        "logprob": _finite(score.logprob),
        "bytes": list(score.raw),
        "top_logprobs": top,
    }


def _text_top(score: TokenScore) -> dict[str, float] | None:
    """The likeliest tokens by their text; of equal texts (halves of characters) the likeliest counts."""
    if score.logprob is None:
        return None
    tops: dict[str, float] = {}
    for text, _, value in score.top:
        tops.setdefault(text, max(value, IMPOSSIBLE))
    return tops
