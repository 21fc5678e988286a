"""Advantages and rewards: each group by itself, each rollout its own, nothing made of what is not known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from aha.doctor import formulas
from aha.doctor.finding import Check, Finding, at_most, count, holds
from aha.doctor.subject import DoctorContext, made_groups
from aha.rewards import accuracy
from aha.sampling import rollouts
from aha.training.algorithm import estimator
from aha.types import Finish, Outcome, Problem, Rollout, Score, Verdict

EXACT = 1e-5
REWARDS: tuple[tuple[float, ...], ...] = (
    (1.0, 0.0, 0.0, 1.0),
    (1.2, 1.2, 0.2, 0.0),
    (0.0, 0.0, 0.0, 1.0),
    (3.0, math.nan, 1.0, 2.0),
    (1.0, math.nan, math.nan, math.nan),
    (0.1, 0.1, 0.1, 0.1),
)


def estimate(kind: str, rewards: list[np.ndarray]) -> list[np.ndarray]:
    """Advantages of all groups of a step by the program's estimator."""
    function: Any = estimator(kind)
    return [np.asarray(a, np.float64) for a in function(rewards, None)]


def advantages(subject: DoctorContext) -> Iterator[Finding]:
    """The run's estimator and those of its kind."""
    kind = subject.plan.algorithm.advantage
    rewards = [np.array(r) for r in REWARDS]
    for name in dict.fromkeys((kind, "group_std", "group_mean")):
        yield from _formula(name, rewards)
    yield from _equal()
    yield _order()
    yield from _ungradable()
    yield from _own_reward(subject)


def _formula(name: str, rewards: list[np.ndarray]) -> Iterator[Finding]:
    if formulas.group_advantages([0.0, 1.0], name) is None:
        yield Finding("", None, f"{name} against its formula", cause="no independent formula for it here")
        return
    expected = [np.array(formulas.group_advantages(list(r), name), np.float64) for r in rewards]
    got = estimate(name, rewards)
    pairs = list(zip(got, expected, strict=True))
    mask = all(np.array_equal(np.isnan(a), np.isnan(b)) for a, b in pairs)
    gap = max((float(np.nanmax(np.abs(a - b), initial=0.0)) for a, b in pairs), default=math.inf)
    yield at_most(f"{name} of {len(rewards)} groups against its formula, group by group", gap, 1e-4,
                  cause="the baseline is not the mean of the rollouts of the same problem, or the "
                  "standard deviation is another", fix="look at training.advantages")  # fmt: skip
    yield holds(f"{name} leaves out exactly the members that it must (the ungradable above all)", mask,
                "as wanted" if mask else "other members",
                cause="an ungradable member is counted as 0, or drags its group along",
                fix="look at training.advantages")  # fmt: skip


def _equal() -> Iterator[Finding]:
    """Groups without a difference: 0, exactly, whatever the mean rounds to."""
    values = (0.0, 0.1, 1 / 3, 1.2, 1e9)
    for name in ("group_std", "group_mean"):
        with np.errstate(all="ignore"):
            got = np.concatenate(estimate(name, [np.full(7, v) for v in values]))
        wrong = [f"{v:g}" for v in got if v != 0]
        yield count(f"{name}: advantages of equal rewards that are not exactly 0", wrong, len(got),
                    cause="0/0 or rounding noise divided by a tiny standard deviation",
                    fix="test for equal rewards before dividing (training.advantages)")  # fmt: skip


def _order() -> Finding:
    """Shuffled members and shuffled groups get the same advantages, shuffled."""
    rng, worst = np.random.default_rng(0), 0.0
    rewards = [rng.normal(size=6) for _ in range(4)]
    for name in ("group_std", "group_mean"):
        straight = estimate(name, rewards)
        groups, members = rng.permutation(4), [rng.permutation(6) for _ in range(4)]
        mixed = estimate(name, [rewards[g][members[g]] for g in groups])
        for got, g in zip(mixed, groups, strict=True):
            gap = float(np.abs(got - straight[g][members[g]]).max())
            worst = gap if not gap <= worst else worst
    return at_most("advantages after shuffling members and groups", worst, 1e-9,
                   cause="an advantage depends on places in the group or on other problems",
                   fix="look at training.advantages")  # fmt: skip


def _ungradable() -> Iterator[Finding]:
    """From a verdict of UNKNOWN to the reward: never 0 on the way."""
    verdicts = {"right": Outcome.CORRECT, "wrong": Outcome.WRONG, "late": Outcome.UNKNOWN}
    reward = accuracy.accuracy(lambda problem, text: Verdict(verdicts[text], "made up"))
    answers = [_rollout(text, i) for i, text in enumerate(("right", "late", "wrong", "late"))]
    group = rollouts.score_group(_problem("p"), answers, {"accuracy": (1.0, reward)})
    values = [m.reward for m in group.members]
    yield holds("rewards of right, timed-out, wrong and timed-out answers", values == [1.0, None, 0.0, None],
                str(values), threshold="[1.0, None, 0.0, None]",
                cause="what could not be graded is scored as wrong",
                fix="give such answers no score (None): rewards.accuracy, sampling.rollouts")  # fmt: skip


def _own_reward(subject: DoctorContext) -> Iterator[Finding]:
    """Each rollout's reward is the reward of its own text, and each example has its own advantage."""
    texts = ["a", "bbb", "cc", "dddd", "e" * 9]
    length = lambda problem, answers: [Score(float(len(r.text))) for r in answers]  # noqa: E731
    group = rollouts.score_group(_problem("q"), [_rollout(t, i) for i, t in enumerate(texts)],
                                 {"length": (2.0, length)})  # fmt: skip
    wrong = [m.rollout.text for m in group.members if m.reward != 2.0 * len(m.rollout.text)]
    wrong += [] if [m.rollout.text for m in group.members] == texts else ["rollouts change places"]
    yield count("rollouts with the reward of another", wrong, len(texts),
                cause="scores and rollouts are joined in different orders", fix="look at score_group")  # fmt: skip
    sampled, off = subject.groups(), []
    for group in sampled:
        for member in group.members:
            for name, (_, reward) in subject.rewards().items():
                alone = reward(group.problem, [member.rollout])[0]
                # Rewards that compare the members of a group cannot be asked about one alone.
                if name in ("accuracy", "format", "tag_count") and alone.value != member.scores[name].value:
                    off.append(f"{name} {member.scores[name].value} instead of {alone.value}")
    yield count("sampled rollouts whose scores are not those of their own text", off,
                sum(len(g.members) for g in sampled), cause="scores of different rollouts are mixed up",
                fix="look at sampling.rollouts")  # fmt: skip
    if subject.to_examples is not None:
        yield _own_advantage(subject)


def _own_advantage(subject: DoctorContext) -> Finding:
    """Through the stage's to_examples: token ids, group and advantage of one member stay together."""
    assert subject.to_examples is not None
    groups = made_groups(subject, (3, 6, 4), 4, seed=31)
    values = [np.arange(4, dtype=np.float64) + 10 * (i + 1) for i in range(3)]
    values[1][2] = np.nan
    examples = subject.to_examples(groups, values)
    key = lambda ids: tuple(map(int, ids))  # noqa: E731
    expected = {
        key(np.concatenate([m.rollout.prompt_ids, m.rollout.completion_ids])): (float(v), i)
        for i, (g, row) in enumerate(zip(groups, values, strict=True))
        for m, v in zip(g.members, row, strict=True)
        if not math.isnan(v)
    }
    wrong = []
    for e in examples:
        advantage, group = expected.pop(key(e.token_ids), (math.nan, -1))
        if not (np.asarray(e.advantage)[e.mask] == advantage).all() or e.group != group:
            wrong.append(f"advantage {float(np.asarray(e.advantage)[-1]):g} instead of {advantage:g}")
    wrong += [f"{len(expected)} members are missing"] if expected else []
    return count("examples without their own rollout's advantage; an ungradable one is left out", wrong,
                 len(examples), cause="advantages and rollouts are joined in different orders",
                 fix="look at the stages' to_examples")  # fmt: skip


def _problem(name: str) -> Problem:
    return Problem(name, "made", ({"role": "user", "content": name},))


def _rollout(text: str, number: int) -> Rollout:
    ids = np.array([number + 1], np.int32)
    return Rollout(ids, ids, np.zeros(1, np.float32), text, Finish.STOP)


CHECKS = (Check("advantages", "advantages and rewards of each rollout", advantages, quick=True),)
