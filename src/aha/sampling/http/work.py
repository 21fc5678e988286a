"""What a backend is, and the work that it does for one request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aha.sampling.http.asked import CompletionRequest


@dataclass(frozen=True, slots=True)
class TokenScore:
    """One token of an answer or of an echoed prompt: its id, its text and bytes, its log probability (None for a
    prompt's first token, which nothing predicts), and the likeliest others as (text, bytes, log probability)."""

    id: int
    text: str
    raw: bytes
    logprob: float | None
    top: tuple[tuple[str, bytes, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TextDelta:
    """New text of choice ``index``, with the tokens it came from where they were asked for."""

    index: int
    text: str
    scores: tuple[TokenScore, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """One finished answer. ``finish`` is "stop" or "length"; ``opened``: the prompt itself opened the thinking, whose
    tag is not in ``text``."""

    text: str
    finish: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    opened: bool = False
    prompt_ids: tuple[int, ...] = ()
    token_ids: tuple[int, ...] = ()
    scores: tuple[TokenScore, ...] = ()
    prompt_text: str = ""
    prompt_scores: tuple[TokenScore, ...] = ()


class AnswerInProgress(Protocol):
    """A request that is being answered."""

    opened: bool  # whether the prompt opened the thinking

    def wait(self, seconds: float) -> Sequence[TextDelta | tuple[int, Choice]]:
        """What there is of it since the last call: pieces where it streams, and (index, choice) of those that ended;
        nothing if nothing came in that time. Raises what the answering raised."""
        ...

    def cancel(self) -> None:
        """Nobody waits any more."""
        ...


class Backend(Protocol):
    """What answers. ``begin`` raises AhaError for a request that it cannot serve."""

    @property
    def models(self) -> Sequence[str]:
        """The names under which it serves."""
        ...

    def begin(self, asked: CompletionRequest) -> AnswerInProgress:
        """Take a request up."""
        ...
