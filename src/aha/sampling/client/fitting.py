"""Requests that are made to fit: an answer is asked for again with as many tokens as the model's context has room for.

An endpoint's tokenizer is not known here, so that only its refusal says how long a prompt is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aha.sampling.client.refusals import TooLongError
from aha.sampling.client.replies import tokens_used

if TYPE_CHECKING:
    from aha.sampling.client.endpoint import Client

MOST_TRIES = 24
"""Of one request: halving the largest number of tokens that anybody asks for takes no more."""


@dataclass(frozen=True, slots=True)
class FittedAnswer:
    """An endpoint's answer, and the ``max_tokens`` that it was asked with in the end; None where none was said."""

    answer: Mapping[str, Any]
    max_tokens: int | None


def post(client: Client, path: str, body: Mapping[str, Any]) -> FittedAnswer:
    """The answer to a request, asked with fewer ``max_tokens`` where that many do not fit. Raises TooLongError where
    the prompt alone leaves no room."""
    limit = body.get("max_tokens")
    for _ in range(MOST_TRIES):
        try:
            sent = body if limit is None else {**body, "max_tokens": limit}
            return FittedAnswer(client.post(path, sent), limit)
        except TooLongError as error:
            if limit is None or (shorter := _shorter(client, path, body, limit, error)) < 1:
                raise
            limit = shorter
    return FittedAnswer(client.post(path, {**body, "max_tokens": limit}), limit)


def _shorter(client: Client, path: str, body: Mapping[str, Any], limit: int, error: TooLongError) -> int:
    """Below ``limit``, how many tokens there is room for; below 1 where there is none. Where the refusal does not say
    how long the prompt is, an answer of one token does. Raises TooLongError where even that does not fit."""
    if error.limit.room is not None or limit == 1:
        return min(error.limit.room or 0, limit - 1)
    prompt, _ = tokens_used(client.post(path, {**body, "max_tokens": 1}))
    if prompt and error.limit.context is not None:
        return min(error.limit.context - prompt, limit - 1)
    return limit // 2
