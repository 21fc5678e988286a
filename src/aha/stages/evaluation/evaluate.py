"""Evaluation as the paper does it: pass@1 as the mean over k samples, majority vote, pass@k, with intervals.

Problems are the unit of intervals: samples of one problem are not independent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aha import chat
from aha.rewards.accuracy import accuracy, full_text
from aha.rewards.format import strict_format
from aha.rewards.language import language_mix
from aha.rewards.reflection import count_reflections
from aha.sampling.engine import Engine
from aha.sampling.rollouts import Prompter, WeightedRewards, sample_groups
from aha.sampling.sampler import SamplingParams
from aha.stages.evaluation.figures import interval, mean, pass_at_k, powers
from aha.stages.evaluation.votes import majority
from aha.tasks.base import Task
from aha.tasks.rows import as_row
from aha.types import Finish, Group, Outcome, Problem, Rollout


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of one evaluation, and the rollouts they were counted on."""

    figures: dict[str, Any]
    groups: list[Group]


def evaluate(
    engine: Engine,
    prompter: Prompter,
    task: Task,
    problems: Sequence[Problem],
    n: int,
    params: SamplingParams,
    *,
    seed: int,
    strict: bool = True,
    progress: Callable[[int], None] | None = None,
    seen: Callable[[Group], None] | None = None,
) -> Evaluation:
    """Sample ``n`` answers to each problem and count. With ``strict`` a right answer must also keep the
    think/answer format to count for pass@1, pass@k and the majority vote. ``seen`` is shown each group
    as it is graded."""
    problems = prompter.asked(problems)
    rewards: WeightedRewards = {
        "accuracy": (1.0, accuracy(task.verify, parts=False)),
        "format": (0.0, strict_format()),
    }
    groups = sample_groups(
        engine, prompter, problems, n, params, rewards, seed=seed, progress=progress, seen=seen
    )
    return Evaluation(figures(groups, task, strict=strict), groups)


def figures(groups: Sequence[Group], task: Task, *, strict: bool = True) -> dict[str, Any]:
    """All figures of scored groups. An ungradable answer leaves pass@1 and is counted as ``ungradable``."""
    n = max(len(g.members) for g in groups)
    right = [_right(g, strict) for g in groups]
    graded = [r[~np.isnan(r)] for r in right]
    per_problem = np.array([r.mean() for r in graded if len(r)])
    rollouts = [m.rollout for g in groups for m in g.members]
    votes = np.array([_majority(g, r, task) for g, r in zip(groups, right, strict=True)])
    lenient = np.array([mean([_lenient(g, m, task) for m in g.members]) for g in groups])
    lenient = lenient[~np.isnan(lenient)]
    result: dict[str, Any] = {
        "pass@1": mean(per_problem),
        "pass@1_ci": list(interval(per_problem)),
        f"maj@{n}": mean(votes),
        **{f"pass@{k}": _pass_at(graded, k) for k in powers(n) if k > 1},
        "lenient": mean(lenient),
        "lenient_ci": list(interval(lenient)),
        "format": mean([m.scores["format"].value for g in groups for m in g.members]),
        "ungradable": float(np.mean([np.isnan(r).mean() for r in right])),
        "n_problems": len(groups),
        "n_samples": n,
    }
    if task.facet is not None:
        result["by"] = _by_facet(groups, right, task.facet)
    return result | text_figures(rollouts, [g.problem.language for g in groups for _ in g.members])


def _by_facet(
    groups: Sequence[Group], right: Sequence[np.ndarray], facet: Callable[[Problem], str]
) -> dict[str, dict[str, Any]]:
    """pass@1 with its interval, pass@n and mean length for each kind of problem; one kind alone says nothing."""
    kinds: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        kinds.setdefault(facet(group.problem), []).append(i)
    if len(kinds) < 2:
        return {}
    by_kind, n = {}, max(map(len, right))
    for kind, members in sorted(kinds.items()):
        graded = [right[i][~np.isnan(right[i])] for i in members]
        rates = np.array([r.mean() for r in graded if len(r)])
        lengths = [len(m.rollout.completion_ids) for i in members for m in groups[i].members]
        by_kind[kind] = {
            "pass@1": mean(rates),
            "pass@1_ci": list(interval(rates)),
            "pass@n": mean([pass_at_k(len(r), int(r.sum()), n) for r in graded]),
            "mean_length": float(np.mean(lengths)),
            "n_problems": len(members),
        }
    return by_kind


def text_figures(rollouts: Sequence[Rollout], languages: Sequence[str]) -> dict[str, Any]:
    """Length in tokens, truncation, reflective words (the paper's list) and language mix of completions."""
    lengths = np.array([len(r.completion_ids) for r in rollouts])
    words: Counter[str] = Counter()
    for rollout in rollouts:
        words.update(count_reflections(rollout.text))
    mixed = [language_mix(_thinking(r), lang).mixed for r, lang in zip(rollouts, languages, strict=True)]
    return {
        "mean_length": float(lengths.mean()),
        "max_length": int(lengths.max()),
        "truncated": float(np.mean([r.finish is Finish.LENGTH for r in rollouts])),
        "reflections": sum(words.values()) / len(rollouts),
        "reflection_words": {w: round(c / len(rollouts), 4) for w, c in words.most_common(12) if c},
        "mixed_language": float(np.mean(mixed)),
    }


def _thinking(rollout: Rollout) -> str:
    return chat.parse(rollout.text, opened_think=rollout.opened_think).think or rollout.text


def _right(group: Group, strict: bool) -> np.ndarray:
    """1 right, 0 wrong, NaN ungradable, for each member."""
    values = []
    for member in group.members:
        score, form = member.scores["accuracy"].value, member.scores["format"].value
        values.append(np.nan if score is None else float(score > 0.5 and (not strict or form == 1)))
    return np.array(values)


def _lenient(group: Group, member: Any, task: Task) -> float:
    """1 right, 0 wrong, NaN ungradable."""
    outcome = task.verify_lenient(group.problem, full_text(member.rollout)).outcome
    return np.nan if outcome is Outcome.UNKNOWN else float(outcome is Outcome.CORRECT)


def _majority(group: Group, right: np.ndarray, task: Task) -> float:
    """Is the most voted answer right? Answers that tie count in parts. NaN where some could not be graded."""
    if np.isnan(right).any():
        return float("nan")
    ballots = [task.vote(group.problem, full_text(m.rollout)) or "" for m in group.members]
    return majority([(ballot, mark == 1) for ballot, mark in zip(ballots, right, strict=True)])[-1]


def _pass_at(graded: Sequence[np.ndarray], k: int) -> float:
    return mean([pass_at_k(len(r), int(r.sum()), k) for r in graded])


def _asked(problem: Problem) -> dict[str, Any]:
    """A problem as a row, and where its answer was asked to stand."""
    place = problem.metadata.get(chat.PLACE)
    return {"problem": as_row(problem)} | ({"place": place} if place else {})


def rollout_rows(
    step: int,
    groups: Sequence[Group],
    advantages: Sequence[np.ndarray] | None = None,
    more: Callable[[Rollout], Mapping[str, Any]] | None = None,
) -> list[Mapping[str, Any]]:
    """Every rollout with its scores and the reason for each, as rows to write; ``more`` adds fields of its own."""
    rows = []
    for i, group in enumerate(groups):
        question = group.problem.messages[-1].get("content", "")
        for j, member in enumerate(group.members):
            r = member.rollout
            advantage = None if advantages is None or np.isnan(advantages[i][j]) else float(advantages[i][j])
            rows.append(
                {
                    "step": step,
                    "problem_id": group.problem.id,
                    "question": question,
                    "answer": group.problem.answer if isinstance(group.problem.answer, str) else None,
                    "member": j,
                    "text": r.text,
                    "finish": r.finish.value,
                    "tokens": len(r.completion_ids),
                    "mean_logprob": round(float(r.logprobs.mean()), 5),
                    "policy_version": r.policy_version,
                    "reward": member.reward,
                    "scores": {
                        k: {"value": s.value, "note": s.note} | ({"silent": True} if s.silent else {})
                        for k, s in member.scores.items()
                    },
                    "advantage": None if advantage is None else round(advantage, 5),
                    **({"opened_think": True} if r.opened_think else {}),
                    **(_asked(group.problem) if j == 0 else {}),
                    **(more(r) if more else {}),
                }
            )
    return rows
