"""Which rollouts show a cause best: the first two of a step by a measure for each cause."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aha import chat
from aha.diagnosis import figures
from aha.diagnosis.findings import ShownRollout
from aha.diagnosis.sampled import goes_on
from aha.diagnosis.seen import Seen, leaks
from aha.rewards.language import language_mix
from aha.rewards.ritual import question_of, ritual
from aha.types import Finish, Group, Problem, Scored

MOST = 2
Measure = Callable[[Problem, Scored], float]
"""How well a completion shows a cause; 0 or less: not at all."""


def _cut(problem: Problem, member: Scored) -> float:
    return float(member.rollout.finish is Finish.LENGTH)


def _missing(problem: Problem, member: Scored) -> float:
    return float(figures.is_missing(problem, member))


def _wrong(problem: Problem, member: Scored) -> float:
    value = figures.correctness(member)
    return float(value is not None and value <= 0) * (1.0 + (member.reward or 0.0))


def _right(problem: Problem, member: Scored) -> float:
    return float((figures.correctness(member) or 0.0) > 0)


def _formless(problem: Problem, member: Scored) -> float:
    score = member.scores.get("format")
    return float(score is not None and score.value == 0)


def _ungraded(problem: Problem, member: Scored) -> float:
    return float(member.reward is None)


def _paid_long(problem: Problem, member: Scored) -> float:
    return _wrong(problem, member) * figures.length(member.rollout) or figures.length(member.rollout) / 1e6


def _paid_wrong(problem: Problem, member: Scored) -> float:
    """A wrong answer that is paid, the more the better; where nothing says what is right, whatever is paid most."""
    value = figures.correctness(member)
    return 0.0 if value is not None and value > 0 else max(0.0, member.reward or 0.0)


def _repeating(problem: Problem, member: Scored) -> float:
    return figures.repetition(member.rollout)


def _foreign(problem: Problem, member: Scored) -> float:
    return float(language_mix(member.rollout.text, problem.language).mixed) * (1.0 + (member.reward or 0.0))


def _hollow(problem: Problem, member: Scored) -> float:
    parsed = chat.parse(member.rollout.text, opened_think=member.rollout.opened_think)
    hollow = bool(ritual(parsed, question_of(problem))) or figures.answers_alone(member.rollout)
    return float(parsed.think is not None and hollow)


def _going_on(problem: Problem, member: Scored) -> float:
    return float(member.rollout.finish is Finish.LENGTH and goes_on(member.rollout))


def _any(problem: Problem, member: Scored) -> float:
    return 1.0


MEASURES: dict[str, Measure] = {
    "grader_errors": _ungraded, "ungradable_golds": _ungraded, "ungradable": _ungraded, "truncated": _cut,
    "no_answer": _missing, "format_never": _formless, "reward_hacking": _paid_wrong, "length_gaming": _paid_long,
    "repetition_gaming": _repeating, "empty_chains": _hollow, "language_drift": _foreign, "all_wrong": _wrong,
    "all_right": _right, "never_ends": _going_on,
}  # fmt: skip
"""By cause; any other is shown by whatever the step begins with."""


def pick(
    cause: str, step: int, groups: Sequence[Group], seen: Seen | None = None
) -> tuple[ShownRollout, ...]:
    """At most two rollouts of a step that show a cause, of different problems where there are several."""
    measure = MEASURES.get(cause, _any)
    ranked = [
        (measure(g.problem, m), g, i)
        for g in groups
        for i, m in enumerate(g.members)
        if _fits(cause, g, seen)
    ]
    ranked = sorted((r for r in ranked if r[0] > 0), key=lambda r: -r[0])
    picked: dict[str, ShownRollout] = {}
    for _, group, index in ranked:
        if len(picked) < MOST and group.problem.id not in picked:
            picked[group.problem.id] = shown(step, group, index)
    return tuple(picked.values())


def _fits(cause: str, group: Group, seen: Seen | None) -> bool:
    """Whether a group is among those that a cause of the questions is about."""
    if seen is None:
        return True
    if cause == "leaking_prompts":
        return leaks(group.problem, seen.verify)
    if cause == "duplicate_prompts":
        return seen.is_copied(group.problem)
    return all(m.reward is None for m in group.members) if cause == "ungradable_golds" else True


def shown(step: int, group: Group, index: int) -> ShownRollout:
    """One member of a group as it is shown."""
    problem, member = group.problem, group.members[index]
    notes = {name: score.note for name, score in member.scores.items() if score.note}
    gold = problem.answer if isinstance(problem.answer, str) else None
    return ShownRollout(
        step, problem.id, index, question_of(problem), gold, member.rollout.text, member.reward, notes
    )
