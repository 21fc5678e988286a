"""Statistics over problems: pass@k, consensus of k votes, intervals, and two models side by side.

Problems are what is drawn: samples of one problem are not independent, so every interval resamples problems (a cluster
bootstrap) or counts as many independent draws as the problems' rates are spread.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aha.benchmarks.records import GradedAnswer, GradedProblem
from aha.stages.evaluation.figures import interval, mean, pass_at_k, powers
from aha.stages.evaluation.votes import majority

RESAMPLED = 4000
"""Resamples of a bootstrap and of a permutation test."""
LEVEL = 0.05
"""The largest p at which a difference counts as more than chance."""


def rates(records: Sequence[GradedProblem], lenient: bool = False) -> np.ndarray:
    """The share of right answers of each problem [P]; NaN where none of its answers could be graded."""
    return np.array([_rate([s.lenient if lenient else s.right for s in r.samples]) for r in records])


def _rate(marks: Sequence[bool | None]) -> float:
    graded = [mark for mark in marks if mark is not None]
    return sum(graded) / len(graded) if graded else float("nan")


def consensus(samples: Sequence[GradedAnswer]) -> list[float]:
    """How often the most frequent answer of k samples is right, for k = 1..n: the mean over all choices of k [n]."""
    return majority([(s.ballot, bool(s.right)) for s in samples])


def summary(records: Sequence[GradedProblem]) -> dict[str, Any]:
    """All figures of one benchmark: accuracy by the strict and the lenient reading, pass@k and cons@k, lengths."""
    strict, lenient = rates(records), rates(records, lenient=True)
    elected = [consensus(r.samples) for r in records]
    graded = strict[~np.isnan(strict)]
    n = max((len(r.samples) for r in records), default=0)
    every = [s for r in records for s in r.samples]
    values: dict[str, Any] = {
        "pass@1": mean(graded),
        "pass@1_ci": list(interval(graded)),
        "lenient": mean(lenient),
        "lenient_ci": list(interval(lenient)),
        **{f"pass@{k}": mean([_pass_at(r, k) for r in records]) for k in powers(n) if k > 1},
        **{f"cons@{k}": mean([e[min(k, len(e)) - 1] for e in elected]) for k in powers(n) if k > 1},
        "format": mean([s.format for s in every]),
        "score": mean([s.score for s in every if s.score is not None]),
        "ungradable": mean([s.right is None for s in every]),
        "problems": len(records),
        "samples": n,
    }
    return _defined(values | lengths(every)) | {"by": by_kind(records)}


def _defined(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures with None for those that nothing is there for: JSON has no NaN."""
    return {key: None if value != value else value for key, value in figures.items()}


def _pass_at(record: GradedProblem, k: int) -> float:
    graded = [s.right for s in record.samples if s.right is not None]
    return pass_at_k(len(graded), sum(graded), min(k, len(graded))) if graded else float("nan")


def lengths(samples: Sequence[GradedAnswer]) -> dict[str, Any]:
    """Tokens of right and wrong answers, the truncated share, tokens spent for each right answer, and the share of
    tokens that stand behind the first right answer (overthinking)."""
    right = [s.tokens for s in samples if s.right]
    timed = [s for s in samples if s.after is not None and s.tokens]
    return {
        "mean_tokens": mean([s.tokens for s in samples]),
        "tokens_right": mean(right),
        "tokens_wrong": mean([s.tokens for s in samples if s.right is False]),
        "tokens_per_right": sum(s.tokens for s in samples) / len(right) if right else float("nan"),
        "truncated": mean([s.truncated for s in samples]),
        "after_answer": mean([(s.after or 0) / s.tokens for s in timed]),
    }


def by_kind(records: Sequence[GradedProblem]) -> dict[str, dict[str, Any]]:
    """pass@1 with its interval, and tokens, of each kind of problem; empty where there is one kind."""
    kinds: dict[str, list[GradedProblem]] = defaultdict(list)
    for record in records:
        kinds[record.kind].append(record)
    if len(kinds) < 2:
        return {}
    return {kind: _of_kind(kinds[kind]) for kind in sorted(kinds)}


def _of_kind(records: Sequence[GradedProblem]) -> dict[str, Any]:
    share = rates(records)
    graded = share[~np.isnan(share)]
    sampled = lengths([s for r in records for s in r.samples])
    kept = {key: sampled[key] for key in ("mean_tokens", "tokens_per_right", "truncated", "after_answer")}
    shares = {"pass@1": mean(graded), "pass@1_ci": list(interval(graded)), "problems": len(records)}
    return _defined(shares | kept)


def bootstrap(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """A 95% interval of the mean of ``values`` [P], one a problem, by resampling problems."""
    if not len(values):
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(0, len(values), (RESAMPLED, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Paired:
    """Two models on the same problems: ``difference`` is the second's mean rate less the first's, ``p`` the share of
    sign flips that lie as far from zero, ``level`` the largest that counts. ``first_only`` and ``second_only``:
    problems that one gets right more often than not and the other does not."""

    problems: int
    difference: float
    low: float
    high: float
    p: float
    first_only: tuple[str, ...]
    second_only: tuple[str, ...]
    level: float = LEVEL

    @property
    def told_apart(self) -> bool:
        """Whether the difference is more than chance: its interval excludes zero, and so does the test."""
        return self.p < self.level and not self.low <= 0 <= self.high

    def sentence(self, first: str, second: str) -> str:
        """In words, which is better, or that they cannot be told apart."""
        span = f"{self.difference:+.1%} [{self.low:+.1%}, {self.high:+.1%}], p = {self.p:.3f}"
        if not self.told_apart:
            lucky = self.p < LEVEL and not self.low <= 0 <= self.high
            why = ", as one of so many pairs differs by chance" if lucky else ""
            return f"{first} and {second} cannot be told apart on {self.problems} problems: {span}{why}"
        better, other = (second, first) if self.difference > 0 else (first, second)
        return f"{better} is better than {other} on {self.problems} problems: {span}"


def paired(
    first: Sequence[GradedProblem], second: Sequence[GradedProblem], seed: int = 0, pairs: int = 1
) -> Paired:
    """Compare two models on the problems that both were asked, by a bootstrap and a sign-flip test over problems. 5% is
    shared among so many ``pairs`` that are looked at (Bonferroni)."""
    ours, theirs = _rates_by_id(first), _rates_by_id(second)
    shared = [problem for problem in ours if problem in theirs]
    a, b = (np.array([side[problem] for problem in shared]) for side in (ours, theirs))
    low, high = bootstrap(b - a, seed)
    one, other = (
        tuple(p for p, x, y in zip(shared, left, right, strict=True) if x > 0.5 >= y)
        for left, right in ((a, b), (b, a))
    )
    apart = float((b - a).mean()) if shared else float("nan")
    return Paired(len(shared), apart, low, high, _sign_flips(b - a, seed), one, other, LEVEL / pairs)


def _rates_by_id(records: Sequence[GradedProblem]) -> Mapping[str, float]:
    marks = rates(records)
    return {r.problem: float(rate) for r, rate in zip(records, marks, strict=True) if not np.isnan(rate)}


def _sign_flips(differences: np.ndarray, seed: int) -> float:
    """The share of random signs under which the mean lies at least as far from zero as it does."""
    moved = differences[differences != 0]
    if not len(moved):
        return 1.0
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (RESAMPLED, len(moved)))
    as_far = np.abs(signs @ moved) >= abs(moved.sum()) - 1e-12
    return float((as_far.sum() + 1) / (RESAMPLED + 1))
