"""Many answers to many problems, written in parts: a stage that is killed samples only what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from aha.files import read_jsonl, write_jsonl
from aha.rewards.accuracy import full_text
from aha.rewards.language import language_mix
from aha.sampling.rollouts import WeightedRewards, sample_groups
from aha.sampling.sampler import SamplingParams, seed_for
from aha.stages.engines import AnswerSource
from aha.stages.evaluation.evaluate import rollout_rows
from aha.types import Group, Problem

RolloutRow = dict[str, Any]
SampledProblem = tuple[Problem, list[RolloutRow]]
"""A problem with its answers: rows as rollout files have them; ``text`` is whole, ``<think>`` included."""


def sample_parts(
    folder: Path,
    source: AnswerSource,
    problems: Sequence[Problem],
    n: int,
    params: SamplingParams,
    rewards: WeightedRewards,
    *,
    seed: int,
    part: int = 64,
    tick: Callable[[int], None] | None = None,
) -> Iterator[SampledProblem]:
    """``n`` answers to each problem, in the order of ``problems``.

    ``part`` problems are sampled and written to a file at a time; what a part draws depends on ``seed`` and
    its number alone, and a part that is there is read and not sampled again.
    """
    for number, start in enumerate(range(0, len(problems), part)):
        chosen = problems[start : start + part]
        path = folder / f"part_{number:05d}.jsonl"
        if not path.exists():
            groups = sample_groups(
                source.engine, source.prompter, chosen, n, params, rewards,
                seed=seed_for(seed, "part", number), progress=tick,
            )  # fmt: skip
            write_jsonl(path, group_rows(groups))
        rows = iter(read_jsonl(path))
        for problem in chosen:
            yield problem, [next(rows) for _ in range(n)]


def group_rows(groups: Sequence[Group]) -> list[RolloutRow]:
    """Rollouts as rows to write, with their whole text and their problem's task and language."""
    members = [(g.problem, m.rollout) for g in groups for m in g.members]
    return [
        {**row, "text": full_text(rollout), "task": problem.task, "language": problem.language}
        for row, (problem, rollout) in zip(rollout_rows(0, groups), members, strict=True)
    ]


def other_languages(text: str, language: str) -> float:
    """The share 0..1 of the words of ``text`` that are not in ``language``."""
    shares = language_mix(text, language).shares
    return 1 - shares.get(language, 0.0) if shares else 0.0
