"""Conversations as records: each turn graded by its own rules, the whole right where every turn is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from aha.benchmarks import records
from aha.benchmarks.records import GradedAnswer, GradedProblem, GradedTurn
from aha.rewards.accuracy import full_text, given_up
from aha.sampling.rollouts import WeightedRewards
from aha.tasks import turns
from aha.tasks.base import Task
from aha.types import Finish, Group, Problem, Reward, Rollout, Score


def rewards_of(turn: Problem, rewards: WeightedRewards) -> WeightedRewards:
    """What grades a turn: nothing looks at an answer of which nothing is demanded."""
    return dict.fromkeys(rewards, (0.0, _nothing)) if turns.without_rules(turn) else rewards


def _nothing(problem: Problem, rollouts: Sequence[Rollout]) -> list[Score]:
    return [Score(None, "nothing is demanded of this turn") for _ in rollouts]


_: Reward = _nothing


def record(
    problem: Problem, conversations: Sequence[Sequence[Group]], task: Task, strict: bool
) -> tuple[GradedProblem, dict[str, Any]]:
    """A problem's conversations, each a group a turn, as its record and as the row that is written of it."""
    graded = [
        [_turn(group, before, task, strict) for before, group in zip([None, *groups], groups, strict=False)]
        for groups in conversations
    ]
    samples = tuple(
        _whole(groups, [turn for turn, _ in of]) for groups, of in zip(conversations, graded, strict=True)
    )
    kind = task.facet(problem) if task.facet is not None and not turns.without_rules(problem) else ""
    asked = [str(turn.messages[-1].get("content", "")) for turn in (problem, *turns.later(problem))]
    answers = [turn.answer for turn in (problem, *turns.later(problem)) if isinstance(turn.answer, str)]
    row = {
        "problem": problem.id,
        "kind": kind,
        "question": "\n\n".join(asked),
        "answer": "; ".join(answers) or None,
        "samples": [
            records.plain(sample) | _said(asked, of) for sample, of in zip(samples, graded, strict=True)
        ],
    }
    return GradedProblem(problem.id, kind, samples), row


Told = dict[str, Any]


def _turn(group: Group, before: Group | None, task: Task, strict: bool) -> tuple[GradedTurn, Told]:
    """A turn's marks, and what is written of it."""
    (member,) = group.members
    rollout, score = member.rollout, member.scores["accuracy"]
    told = {"text": rollout.text, "finish": rollout.finish.value, "why": score.note}
    tokens = len(rollout.completion_ids)
    if turns.without_rules(group.problem) or given_up(rollout) is not None:
        return GradedTurn(None, None, tokens), told
    one, _ = records.record(group, task, strict)
    marks = task.followed(group.problem, full_text(rollout)) if task.followed is not None else ((), ())
    (answer,) = one.samples
    repeated = 0 if before is None else _repeated(before.problem, group.problem)
    repeated = min(repeated, len(marks[0]))
    return GradedTurn(answer.right, answer.lenient, tokens, *marks, repeated, answer.score), told


def _repeated(before: Problem, now: Problem) -> int:
    """How many of a turn's instructions, from the first on, are those of the turn before."""
    lists = [problem.metadata.get("instructions", ()) for problem in (before, now)]
    same = [a == b for a, b in zip(*lists, strict=False)]
    return same.index(False) if False in same else len(same)


def _whole(groups: Sequence[Group], marks: Sequence[GradedTurn]) -> GradedAnswer:
    """The conversation as one answer: right where every turn of which something is demanded is."""
    demanded = [(g, m) for g, m in zip(groups, marks, strict=True) if not turns.without_rules(g.problem)]
    rollouts = [group.members[0].rollout for group in groups]
    form = all(group.members[0].scores["format"].value == 1 for group, _ in demanded)
    return GradedAnswer(
        every(mark.right for _, mark in demanded),
        every(mark.lenient for _, mark in demanded),
        form,
        "",
        sum(mark.tokens for mark in marks),
        any(rollout.finish is Finish.LENGTH for rollout in rollouts),
        turns=tuple(marks),
        unanswered=next((r.finish.value for r in rollouts if given_up(r) is not None), ""),
    )


def every(marks: Iterable[bool | None]) -> bool | None:
    """Whether all are right; None where that cannot be told."""
    seen = list(marks)
    return False if False in seen else None if None in seen else True


def _said(asked: Sequence[str], graded: Sequence[tuple[GradedTurn, Told]]) -> Told:
    """The words of a conversation: of each turn what was asked and said and why it was graded so."""
    told = [words for _, words in graded]
    wrong = [f"turn {i}: {one['why']}" for i, (mark, one) in enumerate(graded, 1) if mark.right is False]
    return {
        "text": "\n\n".join(
            f"User: {q}\n\nAssistant: {one['text']}" for q, one in zip(asked, told, strict=True)
        ),
        "finish": told[-1]["finish"],
        "why": "; ".join(wrong),
        "said": told,
    }
