"""Statistics over problems: pass@k, consensus of k votes, intervals, and two models side by side.

Problems are what is drawn: samples of one problem are not independent, so every interval resamples problems (a cluster
bootstrap) or counts as many independent draws as the problems' rates are spread.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aha.benchmarks.records import GradedAnswer, GradedProblem
from aha.runs.paired import Paired, paired_values
from aha.stages.evaluation.figures import defined, interval, mean, pass_at_k, powers
from aha.stages.evaluation.votes import majority


def rates(records: Sequence[GradedProblem], lenient: bool = False) -> np.ndarray:
    """The share of right answers of each problem [P]; NaN where none of its answers could be graded."""
    return np.array([_rate([s.lenient if lenient else s.right for s in r.samples]) for r in records])


def _rate(marks: Sequence[bool | None]) -> float:
    graded = [mark for mark in marks if mark is not None]
    return sum(graded) / len(graded) if graded else float("nan")


def consensus(samples: Sequence[GradedAnswer]) -> list[float]:
    """How often the most frequent answer of k samples is right, for k = 1..n: the mean over all choices of k of the n
    that could be graded [n]."""
    return majority([(s.ballot, s.right) for s in samples if s.right is not None])


def summary(records: Sequence[GradedProblem]) -> dict[str, Any]:
    """All figures of one benchmark: accuracy by the strict and the lenient reading, pass@k and cons@k, lengths."""
    strict, lenient = rates(records), rates(records, lenient=True)
    elected = [consensus(r.samples) for r in records]
    graded, lenient = (marks[~np.isnan(marks)] for marks in (strict, lenient))
    n = max((len(r.samples) for r in records), default=0)
    every = [s for r in records for s in r.samples]
    values: dict[str, Any] = {
        "pass@1": mean(graded),
        "pass@1_ci": list(interval(graded)),
        "lenient": mean(lenient),
        "lenient_ci": list(interval(lenient)),
        **{f"pass@{k}": mean([_pass_at(r, k) for r in records]) for k in powers(n) if k > 1},
        **{f"cons@{k}": mean([e[k - 1] for e in elected if len(e) >= k]) for k in powers(n) if k > 1},
        "format": mean([s.format for s in every]),
        "score": mean([s.score for s in every if s.score is not None]),
        "ungradable": mean([s.right is None for s in every]),
        "problems": len(records),
        "samples": n,
    }
    return defined(values | lengths(every)) | {"by": by_kind(records)}


def _pass_at(record: GradedProblem, k: int) -> float:
    """NaN where fewer than k could be graded: of them nothing can be told about k."""
    graded = [s.right for s in record.samples if s.right is not None]
    return pass_at_k(len(graded), sum(graded), k)


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
    return defined(shares | kept)


def paired(
    first: Sequence[GradedProblem], second: Sequence[GradedProblem], seed: int = 0, pairs: int = 1
) -> Paired:
    """Compare two models on the problems that both were asked, by a bootstrap and a sign-flip test over problems. 5% is
    shared among so many ``pairs`` that are looked at (Bonferroni)."""
    return paired_values(_rates_by_id(first), _rates_by_id(second), seed, pairs)


def _rates_by_id(records: Sequence[GradedProblem]) -> Mapping[str, float]:
    marks = rates(records)
    return {r.problem: float(rate) for r, rate in zip(records, marks, strict=True) if not np.isnan(rate)}
