"""Pairs from a checkpoint's own answers: a right one is preferred to a wrong one of the same question, by the verifier.

The data of iterative DPO for reasoning: Pang et al. (arXiv 2404.19733), DPO-VP and DPO-R1. Neither a judge nor a
reward model is asked.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from aha.data.cards import DataSource, Filter, write_data
from aha.data.pairs import Pair, balance_lengths
from aha.data.readable import ReadabilityLimits
from aha.rewards.accuracy import accuracy
from aha.runs.console import Console
from aha.runs.pipeline import DATA, Context
from aha.sampling.sampler import SamplingParams
from aha.settings import setting
from aha.stages import asking, groups
from aha.stages.data.answering import AnsweringStage
from aha.stages.data.samples import RolloutRow, SampledProblem
from aha.stages.data.select import reason_against
from aha.tasks import get_task
from aha.types import AhaError, Finish, Problem


@dataclass(slots=True)
class VerifiedAnswers:
    """Pairs, and what became of the rest: ``counts`` of answers by reason, ``questions`` by what their answers were."""

    pairs: list[Pair] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    questions: Counter[str] = field(default_factory=Counter)
    sampled: int = 0
    tokens: int = 0


class VerifiedPairs(
    AnsweringStage,
    groups.TopPSettings,
    groups.ReadableChainSettings,
    groups.StatedAnswerSettings,
    problems=512,
):
    """Right and wrong answers of a checkpoint to the same questions, as pairs."""

    heading: ClassVar[str] = "filter"

    pairs_per_problem: int = setting(4, "at most so many pairs of a question", ge=1)
    balance_lengths: bool = setting(False, "leave pairs out until chosen and rejected are of equal length")

    def run(self, context: Context) -> dict[str, Any]:
        """Sample what is missing, pair, write ``data.jsonl`` and its card; returns the summary."""
        with Console(self.name, 1, unit="", plain=context.plain) as console:
            verified = verified_pairs(
                self._sampled(context, console), self._reason, self.pairs_per_problem, self.seed
            )
        pairs = balance_lengths(verified.pairs, len) if self.balance_lengths else verified.pairs
        if not pairs:
            raise AhaError(
                f"No question has both a right and a wrong answer: {dict(verified.questions)}, answers "
                f"{dict(verified.counts)}. Sample more of each, or take questions that the model can half do."
            )
        reasons = {k: n for k, n in verified.counts.items() if k not in ("right", "wrong")}
        filters = [
            Filter(
                "verifier, answers",
                verified.sampled,
                verified.counts["right"] + verified.counts["wrong"],
                reasons,
            ),
            Filter("equal lengths, pairs", len(verified.pairs), len(pairs)),
        ]
        source = DataSource(asking.name_of(self.model), verified.sampled, f"samples on {self.task}")
        write_data(context.folder / DATA, [pair.row() for pair in pairs], [source], filters)
        return {
            "rows": len(pairs),
            "sampled": verified.sampled,
            "sampled_tokens": verified.tokens,
            "accuracy": round(verified.counts["right"] / max(1, verified.sampled), 4),
            "answers": dict(verified.counts),
            "questions": dict(verified.questions),
        }

    def _sampled(self, context: Context, console: Console) -> Iterable[SampledProblem]:
        task = get_task(self.task, self.data, self.test_data)
        source = self.open_model(context)
        problems, longest = source.fit(task.load("train", self.problems, self.seed), self.max_tokens)
        params = SamplingParams(self.temperature, self.top_p, max_tokens=longest)
        return self.graded_answers(context, console, source, problems, params, accuracy(task.verify))

    def _reason(self, row: RolloutRow, problem: Problem) -> str:
        """Why an answer is no chosen one; "" where it may be."""
        limits = ReadabilityLimits(self.max_other_languages, self.max_repetition)
        return reason_against(row, problem, limits, self.require_answer)


def verified_pairs(
    sampled: Iterable[SampledProblem], reason: Any, per_problem: int, seed: int
) -> VerifiedAnswers:
    """At most ``per_problem`` pairs of each question's right and wrong answers, drawn by ``seed`` and the question.

    ``reason(row, problem)`` says why an answer is not kept. One that is right and yet not kept, one that could not be
    graded and one that was cut are neither chosen nor rejected.
    """
    verified = VerifiedAnswers()
    for problem, rows in sampled:
        right: dict[str, None] = {}
        wrong: dict[str, None] = {}
        for row in rows:
            verified.sampled += 1
            verified.tokens += int(row.get("tokens", 0))
            why = reason(row, problem)
            cut = row["finish"] != Finish.STOP.value
            kind = "right" if not why else "truncated" if cut else why
            verified.counts[kind] += 1
            if kind in ("right", "wrong"):
                (wrong if why else right)[str(row["text"]).strip()] = None
        verified.questions["both" if right and wrong else "no wrong" if right else "no right"] += 1
        verified.pairs += _pairs(problem, list(right), list(wrong), per_problem, seed)
    return verified


def _pairs(problem: Problem, right: list[str], wrong: list[str], most: int, seed: int) -> list[Pair]:
    """Each right answer and each wrong one as often as the others, as far as that goes."""
    if not (right and wrong):
        return []
    rng = random.Random(f"{seed}:{problem.id}")
    rng.shuffle(right)
    rng.shuffle(wrong)
    n = min(most, max(len(right), len(wrong)))
    return [Pair(problem, right[i % len(right)], wrong[i % len(wrong)], 1.0) for i in range(n)]
