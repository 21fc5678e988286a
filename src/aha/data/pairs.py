"""Preference pairs from a judge's verdicts, as the R1 paper builds them for its helpful reward model.

Four calls for each pair of answers with the order shuffled (two in each order, so that a liking for what
stands first cancels), averaged; kept where the margin is above 1 on the scale much better = 3, a little better
= 1, no difference = 0: one much-better among the calls at least. Chosen and rejected answers are balanced in
length, and only what the reader is given is judged, never the thinking. (DeepSeek-R1, arXiv 2501.12948.)
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from aha.data.prompt_rows import spoken
from aha.types import AhaError, Problem

Compare = Callable[[str, str, str, int], float | None]
"""(question, answer A, answer B, seed) -> margin of A over B, or None if there was no verdict."""
CALLS = 4
THRESHOLD = 1.0
"""The margin above which a pair is kept."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An answer preferred to another. ``margin`` is above the threshold; answers are whole, with thinking."""

    problem: Problem
    chosen: str
    rejected: str
    margin: float

    def row(self) -> dict[str, Any]:
        """The row in TRL's schema for preferences: prompt, chosen and rejected as messages."""
        return {
            "prompt": [dict(m) for m in self.problem.messages],
            "chosen": [{"role": "assistant", "content": self.chosen}],
            "rejected": [{"role": "assistant", "content": self.rejected}],
            "margin": self.margin,
            "problem_id": self.problem.id,
            "language": self.problem.language,
        }


@dataclass(slots=True)
class PairReport:
    """What became of the candidates. Lengths are mean characters of the judged texts."""

    compared: int = 0
    same: int = 0  # both answers read the same
    unjudged: int = 0  # fewer than half of the calls gave a verdict
    close: int = 0  # the margin was not above the threshold
    unbalanced: int = 0  # dropped to balance lengths
    kept: int = 0
    lengths: dict[str, float] = field(default_factory=dict)


def judge_pair(
    compare: Compare, question: str, a: str, b: str, rng: random.Random, calls: int = CALLS
) -> float | None:
    """The mean margin of ``a`` over ``b`` over ``calls`` verdicts, half of them in each order, shuffled.

    None if fewer than half of the calls gave a verdict.
    """
    swapped = [i % 2 == 1 for i in range(calls)]
    rng.shuffle(swapped)
    margins = []
    for swap in swapped:
        seed = rng.getrandbits(31)
        margin = compare(question, b, a, seed) if swap else compare(question, a, b, seed)
        if margin is not None:
            margins.append(-margin if swap else margin)
    return sum(margins) / len(margins) if 2 * len(margins) >= calls and margins else None


def build_pairs(
    candidates: Iterable[tuple[Problem, Sequence[str]]],
    compare: Compare,
    shown: Callable[[str], str],
    *,
    calls: int = CALLS,
    threshold: float = THRESHOLD,
    per_problem: int = 1,
    tolerance: float = 0.05,
    seed: int = 0,
    mapper: Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]] = map,
) -> tuple[list[Pair], PairReport]:
    """Pairs among each problem's answers, and what was dropped.

    ``shown(answer)`` is what the judge sees of an answer. ``per_problem``: at most so many pairs are compared
    of each problem. ``tolerance``: how far the mean logarithm of length chosen / length rejected may be from
    0. ``mapper`` may run the comparisons in threads (a pool's ``map``). Everything is drawn from ``seed`` and
    the problem's id: neither order nor threads change a pair. Raises AhaError if nothing is left to compare.
    """
    report = PairReport()
    jobs = list(_jobs(candidates, shown, per_problem, seed, report))
    report.compared = len(jobs)
    if not jobs:
        raise AhaError(
            "No two different answers to any problem: sample more answers, or at a higher temperature."
        )

    def judge(job: tuple[Problem, str, str]) -> float | None:
        problem, a, b = job
        rng = random.Random(f"{seed}:{problem.id}:{a}:{b}")
        return judge_pair(compare, spoken(problem.messages), shown(a), shown(b), rng, calls)

    pairs = []
    for (problem, a, b), margin in zip(jobs, mapper(judge, jobs), strict=True):
        if margin is None:
            report.unjudged += 1
        elif abs(margin) <= threshold:
            report.close += 1
        else:
            chosen, rejected = (a, b) if margin > 0 else (b, a)
            pairs.append(Pair(problem, chosen, rejected, abs(margin)))
    kept = balance_lengths(pairs, lambda text: len(shown(text)), tolerance)
    report.unbalanced, report.kept = len(pairs) - len(kept), len(kept)
    report.lengths = {
        f"{side}_{when}": round(_mean([len(shown(getattr(p, side))) for p in some]), 1)
        for when, some in (("before", pairs), ("after", kept))
        for side in ("chosen", "rejected")
    }
    return kept, report


def _jobs(
    candidates: Iterable[tuple[Problem, Sequence[str]]],
    shown: Callable[[str], str],
    per_problem: int,
    seed: int,
    report: PairReport,
) -> Iterator[tuple[Problem, str, str]]:
    for problem, answers in candidates:
        possible = []
        for a, b in itertools.combinations(answers, 2):
            if shown(a).strip() == shown(b).strip():
                report.same += 1
            elif shown(a).strip() and shown(b).strip():
                possible.append((a, b))
        rng = random.Random(f"{seed}:{problem.id}")
        for a, b in rng.sample(possible, min(per_problem, len(possible))):
            yield problem, a, b


def balance_lengths(
    pairs: Sequence[Pair], length: Callable[[str], int], tolerance: float = 0.05
) -> list[Pair]:
    """The pairs, less those that make chosen answers longer (or shorter) than rejected ones on the whole.

    As long as the mean log ratio of lengths is further than ``tolerance`` from 0, the pair that leans most to
    that side goes. Order is kept.
    """
    ratios = [math.log((length(p.chosen) + 1) / (length(p.rejected) + 1)) for p in pairs]
    order = sorted(range(len(pairs)), key=lambda i: ratios[i])
    low, high, total = 0, len(order), sum(ratios)
    while high > low and abs(total / (high - low)) > tolerance:
        if total > 0:
            high -= 1
            total -= ratios[order[high]]
        else:
            total -= ratios[order[low]]
            low += 1
    kept = set(order[low:high])
    return [pair for i, pair in enumerate(pairs) if i in kept]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
