"""Log probabilities of texts that are given: of whole prompts, and of continuations of shared contexts.

All texts of a call go through the model packed, without padding; logits exist for a stretch of positions at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aha import attention
from aha.modeling import Head, max_context
from aha.sampling.local.engine import LocalEngine
from aha.types import AhaError

SCORED = 256
"""Positions whose logits exist at a time."""
PACKED = 8192
"""Tokens of one pass at most, unless a single context with its continuations has more."""
Top = tuple[tuple[int, float], ...]
"""The likeliest tokens as (id, log probability)."""


@dataclass(frozen=True, slots=True)
class ContinuationScore:
    """``logprob``: the sum over a continuation's tokens; ``greedy``: whether each of them is the likeliest one."""

    logprob: float
    greedy: bool
    tokens: int


def likeliest(logits: Tensor, n: int) -> list[Top]:
    """The ``n`` likeliest tokens of each row of logits [R, V], the likeliest first."""
    if not n:
        return [()] * len(logits)
    values, ids = torch.log_softmax(logits.float(), -1).topk(min(n, logits.shape[-1]), -1)
    return [tuple(zip(i, v, strict=True)) for i, v in zip(ids.tolist(), values.tolist(), strict=True)]


def score_prompts(
    engine: LocalEngine, prompts: Sequence[Sequence[int]], top: int = 0
) -> list[tuple[list[float], list[Top]]]:
    """Of each prompt the log probabilities [P - 1] of its tokens after the first, and the ``top`` likeliest at each
    place."""
    starts = np.cumsum([0, *map(len, prompts)])
    segments = np.array([(a, len(p), 0, 0) for a, p in zip(starts, prompts, strict=False)])
    places = np.concatenate([np.arange(len(p)) for p in prompts])
    hidden = _hidden(engine, [i for p in prompts for i in p], places, segments)
    tokens = torch.tensor([i for p in prompts for i in p], device=hidden.device)
    values: list[float] = []
    tops: list[Top] = []
    for logits, at in _logits(engine, hidden[:-1]):
        chosen = torch.log_softmax(logits, -1).gather(1, tokens[at.start + 1 : at.stop + 1, None])
        values += chosen[:, 0].tolist()
        tops += likeliest(logits, top)
    spans = [(int(a), int(a) + len(p) - 1) for a, p in zip(starts, prompts, strict=False)]
    return [(values[a:b], tops[a:b]) for a, b in spans]


Continuations = tuple[Sequence[int], Sequence[Sequence[int]]]
"""Ids of a context [P], and of each text that may follow it [C]."""


def score_continuations(
    engine: LocalEngine, cases: Sequence[Continuations]
) -> Iterator[tuple[ContinuationScore, ...]]:
    """Of each case the scores of its continuations, in order. A context goes through the model once, however many
    texts follow it.

    Raises AhaError for an empty context or continuation, and for more tokens than the model's context has.
    """
    with torch.inference_mode():
        for part in _parts(cases, max_context(engine.model)):
            yield from _score(engine, part)


def _parts(cases: Sequence[Continuations], limit: int) -> Iterator[list[Continuations]]:
    part: list[Continuations] = []
    size = 0
    for number, (context, texts) in enumerate(cases):
        if not len(context) or not texts or not all(map(len, texts)):
            raise AhaError(f"Text {number} to be scored has an empty context or continuation.")
        if (longest := len(context) + max(map(len, texts))) > limit:
            raise AhaError(
                f"Text {number} to be scored has {longest} tokens, and the model's context {limit}: take fewer or "
                "shorter examples."
            )
        own = len(context) + sum(map(len, texts))
        if part and size + own > PACKED:
            yield part
            part, size = [], 0
        part.append((context, texts))
        size += own
    if part:
        yield part


def _score(engine: LocalEngine, cases: Sequence[Continuations]) -> list[tuple[ContinuationScore, ...]]:
    ids, places, segments, predictors = list[int](), list[int](), [], list[int]()
    for context, texts in cases:
        start = len(ids)
        ids += context
        places += range(len(context))
        segments.append((start, len(context), 0, 0))
        for text in texts:
            at = len(ids)
            segments.append((at, len(text), start, len(context)))
            predictors += [start + len(context) - 1, *range(at, at + len(text) - 1)]
            ids += text
            places += range(len(context), len(context) + len(text))
    hidden = _hidden(engine, ids, np.array(places), np.array(segments))
    token_ids = torch.tensor([i for _, texts in cases for t in texts for i in t], device=hidden.device)
    values, greedy = list[float](), list[bool]()
    for logits, at in _logits(engine, hidden[torch.tensor(predictors, device=hidden.device)]):
        values += torch.log_softmax(logits, -1).gather(1, token_ids[at, None])[:, 0].tolist()
        greedy += (logits.argmax(-1) == token_ids[at]).tolist()
    tokens = zip(values, greedy, strict=True)
    return [tuple(_sum(itertools.islice(tokens, len(t))) for t in texts) for _, texts in cases]


def _sum(tokens: Iterator[tuple[float, bool]]) -> ContinuationScore:
    scores = list(tokens)
    return ContinuationScore(sum(v for v, _ in scores), all(g for _, g in scores), len(scores))


def _hidden(engine: LocalEngine, ids: Sequence[int], places: np.ndarray, segments: np.ndarray) -> Tensor:
    """Hidden states [T, width] of packed tokens."""
    attention.install(engine.model)
    device = Head.of(engine.model).weight.device
    tokens, positions = torch.tensor(ids, device=device), torch.from_numpy(places).to(device)
    context = attention.Packed(attention.make_plan(segments, device))
    return engine.forward(tokens[None], positions[None], context)[0]


def _logits(engine: LocalEngine, hidden: Tensor) -> Iterator[tuple[Tensor, slice]]:
    """Float32 logits [R, V] of stretches of hidden states, and which they are."""
    head = Head.of(engine.model)
    for start in range(0, len(hidden), SCORED):
        end = min(start + SCORED, len(hidden))
        yield head.logits(hidden[start:end]).float(), slice(start, end)
