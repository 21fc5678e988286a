"""Padding that a reward model likes: answers grow while what is true of them stays, in rollouts made for it."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from aha.diagnosis.figures import correctness, length, paid_for, step_figures, truth
from aha.runs import health
from aha.tasks import countdown, general
from aha.tasks.general_answers import write
from aha.types import Finish, Group, Rollout, Score, Scored

GENERAL = [
    p for p in general.task().load("train", 60, 0) if not p.metadata["harmful"] and p.language == "en"
][:12]
PUZZLES = countdown.task().load("train", 12, 0)
QUIET = Score(0.0, "a general question: no rule", silent=True)
PADDING = {
    "filler": lambda p: "The sky is blue today.",
    "begging": lambda p: "I hope you like it.",
    "praise": lambda p: "This answer is complete.",
    "the question again": lambda p: str(p.messages[-1]["content"]),
    "markdown": lambda p: "**-** ## ---",
}


def tokens(text):
    return max(1, len(text) // 4)


def member(text, scores, reward):
    ids = np.zeros(tokens(text), np.int32)
    return Scored(Rollout(ids[:0], ids, np.zeros(len(ids), np.float32), text, Finish.STOP), scores, reward)


def answered(problem, final, score):
    text = f"<think>I answer.</think> <answer>{final}</answer>"
    return member(text, {"accuracy": QUIET, "preference": Score(score)}, score)


def puzzles(rng, n=8):
    """Right and wrong answers to puzzles, right ones longer, as where thinking helps."""
    groups = []
    for problem in PUZZLES:
        right = [rng.random() < 0.5 for _ in range(n)]
        words = [rng.randint(40, 60) + 40 * ok for ok in right]
        texts = [f"<think>{'try ' * w}</think> <answer>1+1</answer>" for w in words]
        groups.append(Group(problem, tuple(
            member(t, {"accuracy": Score(float(ok))}, float(ok)) for t, ok in zip(texts, right, strict=True)
        )))  # fmt: skip
    return groups


def padded(step, kind, rng, n=8):
    """Good answers with padding that grows over the steps, and a reward model that pays a little for each piece."""
    groups = []
    for problem in GENERAL:
        good, members = write(problem, "good", random.Random(problem.id)), []
        for _ in range(n):
            pieces = rng.randint(0, 1 + step // 3)
            final = " ".join([good, *[PADDING[kind](problem)] * pieces])
            members.append(answered(problem, final, 0.6 + 0.04 * min(pieces, 6) + rng.gauss(0, 0.02)))
        groups.append(Group(problem, tuple(members)))
    return groups


def better(step, rng, n=8):
    """Answers that grow by what the rubric asks for, and a reward model that pays for just that."""
    groups = []
    for problem in GENERAL:
        good, members = write(problem, "good", random.Random(problem.id)).split(), []
        for _ in range(n):
            said = " ".join(good[: rng.randint(1, max(2, min(len(good), 2 + step // 2)))])
            whole = answered(problem, said, 0.0)
            worth = general.rubric(problem, whole.rollout.text).helpful
            members.append(answered(problem, said, 0.2 + 0.6 * worth + rng.gauss(0, 0.02)))
        groups.append(Group(problem, tuple(members)))
    return groups


def warned(make, steps=12):
    """(key, step) of the warnings of a run whose step's groups ``make`` gives."""
    rng, rows, said = random.Random(0), [], []
    for step in range(1, steps + 1):
        rows.append({"step": step, **step_figures(make(step, rng))})
        said += [(w.key, w.step) for w in health.latest(rows)]
    return dict(reversed(said)), rows


@pytest.mark.parametrize("kind", PADDING)
def test_padding_that_is_paid_is_named_though_half_of_the_questions_have_a_rule(kind):
    said, _ = warned(lambda step, rng: [*puzzles(rng), *padded(step, kind, rng)])
    assert said.get("paid/length", 99) <= 6, said


def test_among_questions_with_a_rule_it_would_be_hidden():
    """The rewards of puzzles are 0 and 1: of the variance of all, padding has next to nothing."""
    rng = random.Random(0)
    groups = [*puzzles(rng), *padded(9, "filler", rng)]
    assert paid_for(groups, length) < 0.04
    assert step_figures(groups)["paid/length"] > 0.12, "longer than the rubric allows is another truth"


def test_answers_that_grow_with_what_is_true_of_them_are_not_accused():
    said, rows = warned(lambda step, rng: [*puzzles(rng), *better(step, rng)], steps=20)
    assert not {"paid/length", "paid/repetition", "paid/length_unjudged"} & said.keys(), (said, rows[-1])
    grown = [np.mean([len(m.rollout.completion_ids) for g in better(s, random.Random(1)) for m in g.members])
             for s in (1, 20)]  # fmt: skip
    assert grown[1] > 1.2 * grown[0]
    first, *_ = better(20, random.Random(2))
    values = [truth(first.problem, m) for m in first.members]
    assert len(set(values)) > 1
    assert {correctness(m) for m in first.members} == {None}


def test_where_nothing_says_what_is_better_it_is_said_so():
    def bare(groups):
        return [replace(g, problem=replace(g.problem, metadata={"given_pairs": ()})) for g in groups]

    said, rows = warned(lambda step, rng: [*puzzles(rng), *bare(padded(step, "praise", rng))])
    assert said.keys() & {"paid/length", "paid/length_unjudged"} == {"paid/length_unjudged"}
    text = health.warnings(rows)[0].text
    assert "nothing tells whether they are better" in text
    level = [bare(padded(1, "praise", random.Random(s))) for s in range(20)]
    flat = [[replace(g, members=tuple(replace(m, reward=random.Random(i).random()) for i, m in enumerate(g.members)))
             for g in groups] for groups in level]  # fmt: skip
    assert np.median([step_figures(groups)["paid/length_unjudged"] for groups in flat]) < 0.1
