"""Many answers and one choice: the majority's, or the best one's by a verifier, a reward model or a value function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from aha.benchmarks.records import GradedAnswer
from aha.rewards.accuracy import full_text
from aha.stages.evaluation.votes import best_of, majority
from aha.thinking.methods import SpentPoint, ThinkingRow, mean
from aha.thinking.values import ValueFunction
from aha.thinking.writing import ThinkingWriter
from aha.types import AhaError, Problem, Rollout

MAJORITY, VERIFIER = "majority vote", "best of n, verifier"


@dataclass(frozen=True, slots=True)
class Votes:
    """``n`` answers to each problem: for every k up to it, the majority's (self-consistency, arXiv 2203.11171) and the
    best of k (arXiv 2110.14168), by the task's verifier, which knows the answer, and by ``value`` where one is given.
    Each is the mean over all choices of k of the n."""

    n: int = 16
    value: ValueFunction | None = None
    name: ClassVar[str] = "votes"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise AhaError(f"--n {self.n}: give 1 or more answers to each problem.")

    def think(self, writer: ThinkingWriter, problems: Sequence[Problem]) -> list[ThinkingRow]:
        """The curves of each problem."""
        asked = writer.answers(problems, self.n, self.name)
        return [self._row(writer, p, rollouts) for p, rollouts in zip(problems, asked, strict=True)]

    def _row(self, writer: ThinkingWriter, problem: Problem, rollouts: Sequence[Rollout]) -> ThinkingRow:
        graded = writer.grade(problem, rollouts)
        known = [(at, g) for at, g in enumerate(graded) if g.right is not None]
        right = [g.right is True for _, g in known]
        curves = {MAJORITY: majority([(g.ballot, g.right is True) for _, g in known])}
        curves[VERIFIER] = best_of([float(mark) for mark in right], right)
        if self.value is not None:
            scores = self.value.scores(problem, [full_text(r) for r in rollouts])
            curves[f"best of n, {self.value.label}"] = best_of([scores[at] for at, _ in known], right)
        each = mean([g.tokens for g in graded])
        points = tuple(
            SpentPoint(way, k, curve[k - 1] if k <= len(curve) else None, k * each)
            for way, curve in curves.items()
            for k in range(1, len(graded) + 1)  # of fewer that could be graded nothing is told about k
        )
        return ThinkingRow(problem.id, points, _texts(rollouts, graded))


def _texts(rollouts: Sequence[Rollout], graded: Sequence[GradedAnswer]) -> tuple[dict[str, object], ...]:
    return tuple(
        {"text": r.text, "right": g.right, "ballot": g.ballot, "tokens": g.tokens}
        for r, g in zip(rollouts, graded, strict=True)
    )
