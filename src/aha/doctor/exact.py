"""What may be expected of a log probability: transformers' own code is held against the truth, and ours beside it.

The truth is the model in a finer type, by transformers alone. In bf16 one model's log probabilities err by a
thousandth of a nat and another's by a twentieth, in transformers as here; so what ours may err by is read off what
transformers errs by, on the same tokens.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from aha import attention, trials
from aha.doctor import ground_truth
from aha.doctor.finding import Finding, at_most, holds
from aha.doctor.memory import free_memory
from aha.types import Rollout

FACTORS = (trials.FACTOR, 3.0)
"""Of the plain way's (mean, largest) error: the largest of a few hundred numbers varies more than their mean."""
FLOORS = {True: (1e-4, 5e-3), False: (0.01, 0.3)}
"""Nats (mean, largest) that rounding may make beside it, in float32 (True) and coarser types: they matter to models
that err less than others."""
UNKNOWN = {True: (1e-4, 5e-3), False: (0.03, 1.5)}
"""What is allowed where a model is too large for a finer copy and its family has one attention only."""
LARGEST = {torch.float32: 8 << 30, torch.float64: 64 << 20}
"""Bytes of a model in a finer type up to which it is made."""


@dataclass(frozen=True, slots=True)
class Gap:
    """|difference| of log probabilities, in nats."""

    mean: float
    largest: float
    at: int = 0
    tokens: int = 0

    @classmethod
    def of(cls, values: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> Gap:
        """Over all tokens of all completions; infinite where lengths or numbers are not right."""
        if any(len(a) != len(b) for a, b in zip(values, truth, strict=True)):
            return cls(np.inf, np.inf)
        gap = np.abs(np.concatenate(list(values)) - np.concatenate(list(truth))).astype(np.float64)
        gap = np.nan_to_num(gap, nan=np.inf)
        return cls(float(gap.mean()), float(gap.max()), int(gap.argmax()), len(gap))


class Exact:
    """A model in a finer type, and what transformers' own code makes of the model in its own."""

    def __init__(self, model: Any):
        self.model = model
        self.dtype = next(model.parameters()).dtype
        self.precise = self.dtype in (torch.float32, torch.float64)
        self.finer = _finer_copy(model)

    def logits(self, ids: np.ndarray, last: int) -> np.ndarray:
        """Float64 logits [last, V] of the tokens before the last ``last`` ones of ``ids``."""
        with ground_truth.own_attention(self.finer or self.model, "eager") as model, torch.no_grad():
            return ground_truth.logits(model, ids, last + 1)[:-1].double().cpu().numpy()

    def truth(self, rollouts: Sequence[Rollout], temperature: float) -> Held:
        """The truth about some completions, and how far transformers is from it."""
        with ground_truth.own_attention(self.finer or self.model, "eager") as model:
            true = [ground_truth.completion_logprobs(model, r, temperature) for r in rollouts]
        return Held(self, rollouts, temperature, true)

    def error(
        self, rollouts: Sequence[Rollout], temperature: float, truth: Sequence[np.ndarray], kind: str
    ) -> Gap:
        """Of transformers' own code with this attention."""
        with ground_truth.own_attention(self.model, kind) as model:
            return Gap.of([ground_truth.completion_logprobs(model, r, temperature) for r in rollouts], truth)


def _finer_copy(model: Any) -> Any:
    """The model in a finer type with transformers' own code, or None where that would be too large."""
    finer = trials.finer(next(model.parameters()).dtype)
    size = finer.itemsize * sum(p.numel() for p in model.parameters())
    device = next(model.parameters()).device
    if size > LARGEST[finer] or 2 * size > free_memory(device):
        return None
    copied = copy.deepcopy(model)
    attention.to_torch(copied)
    copied.set_attn_implementation("eager")
    for param in copied.parameters():
        param.grad = None
        param.requires_grad_(False)
    return copied.to(finer)


class Held:
    """Completions with the truth about them."""

    def __init__(
        self, exact: Exact, rollouts: Sequence[Rollout], temperature: float, true: Sequence[np.ndarray]
    ):
        self.exact, self.rollouts, self.temperature, self.true = exact, rollouts, temperature, true
        self.known: dict[str, Gap] = {}

    def error(self, kind: str) -> Gap:
        """Of transformers' own code with this attention, which is asked once."""
        if kind not in self.known:
            self.known[kind] = self.exact.error(self.rollouts, self.temperature, self.true, kind)
        return self.known[kind]

    def limits(self, gap: Gap) -> tuple[float, float, Gap | None]:
        """(mean, largest) nats that ours may err by, and transformers' own error. Its eager attention is asked only
        where ``gap`` is more than its other one allows."""
        capped = ground_truth.is_capped(self.exact.model)
        if self.exact.finer is None and capped:
            return (*UNKNOWN[self.exact.precise], None)
        own = self.error("eager" if capped else "sdpa")
        if self.exact.finer is not None and not capped and not _within(gap, *self._allowed(own)):
            eager = self.error("eager")
            own = Gap(max(own.mean, eager.mean), max(own.largest, eager.largest))
        return (*self._allowed(own), own)

    def _allowed(self, own: Gap) -> tuple[float, float]:
        mean, largest = FLOORS[self.exact.precise]
        return FACTORS[0] * own.mean + mean, FACTORS[1] * own.largest + largest

    def compare(
        self, what: str, said: Sequence[np.ndarray], *, cause: str, fix: str, times: float = 1.0
    ) -> Iterator[Finding]:
        """Findings on how far ``said`` is from the truth, ``times`` the limits."""
        gap = Gap.of(said, self.true)
        if not np.isfinite(gap.mean):
            yield holds(
                f"{what}: a number for each token", False, "lengths differ, or NaN", cause=cause, fix=fix
            )
            return
        mean, largest, own = self.limits(gap)
        beside = "" if own is None else f"transformers' own {own.mean:.3g}; "
        yield at_most(f"{what}, mean error", gap.mean, times * mean, cause=cause, fix=fix, unit=" nats",
                      more=f"{beside}{gap.tokens} tokens")  # fmt: skip
        beside = "" if own is None else f"transformers' own {own.largest:.3g}; "
        yield at_most(f"{what}, largest error", gap.largest, times * largest, cause=cause, fix=fix, unit=" nats",
                      more=f"{beside}token {gap.at}")  # fmt: skip


def _within(gap: Gap, mean: float, largest: float) -> bool:
    return gap.mean <= mean and gap.largest <= largest


def seconds_per_token(model: Any, vocabulary: np.ndarray, tokens: int = 48) -> float:
    """Of a forward pass by transformers' own code, the faster of two."""
    ids, taken = np.resize(vocabulary, tokens), []
    with ground_truth.own_attention(model), torch.no_grad():
        for _ in range(2):
            clock = time.perf_counter()
            float(ground_truth.logits(model, ids, 1).sum())  # a number: a GPU's work is then done
            taken.append(time.perf_counter() - clock)
    return max(min(taken) / tokens, 1e-7)
