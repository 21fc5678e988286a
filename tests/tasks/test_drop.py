"""DROP's F1, by cases worked by hand after its paper."""

from __future__ import annotations

import itertools
import random

import pytest

from aha.chat.prompts import PLACE
from aha.tasks import drop
from aha.types import AhaError, Outcome

NOBODY = {"number": "", "date": {"day": "", "month": "", "year": ""}, "spans": []}


def problem(**row):
    return drop.make_problem({"passage": "It was so.", "question": "What?", **row}, 1)


@pytest.mark.parametrize(
    ("predicted", "gold", "worth"),
    [
        ("Tom Brady", "Brady", 2 / 3),
        ("the New England Patriots", "New England Patriots", 1.0),
        ("42 yards", "42", 2 / 3),
        ("42-yard", "42", 2 / 3),
        ("1,969", "1969", 1.0),
        ("41 yards", "42 yards", 0.0),  # a number that the reference has is missing: nothing else counts
        ("yards", "42 yards", 0.0),
        ("5.0", "5", 1.0),
        ("an elephant", "Elephant!", 1.0),
        ("dog", "cat", 0.0),
    ],
)
def test_words(predicted, gold, worth):
    assert drop.f1((predicted,), (gold,)) == pytest.approx(worth, abs=1e-4)


def test_spans_are_paired_for_the_highest_sum_and_missing_ones_cost():
    assert drop.f1(("Brady", "Manning"), ("Manning", "Tom Brady")) == pytest.approx((1 + 2 / 3) / 2, abs=1e-4)
    assert drop.f1(("Brady",), ("Manning", "Brady")) == 0.5
    assert drop.f1(("a b", "b", "c"), ("b",)) == pytest.approx(1 / 3, abs=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_the_pairing_is_the_best_of_all(seed):
    rng = random.Random(seed)
    worth = [[rng.choice([0.0, rng.random()]) for _ in range(4)] for _ in range(3)]
    best = max(
        sum(worth[r][c] for r, c in enumerate(order[:3])) for order in itertools.permutations(range(4))
    )
    assert drop._paired(worth) == pytest.approx(best)


def test_rows_of_three_layouts():
    date = {**NOBODY, "date": {"day": "5", "month": "May", "year": "1862"}}
    assert problem(answer=date).metadata["golds"] == (("5 May 1862",),)
    several = {**NOBODY, "spans": ["red", "blue"]}
    checked = {"number": ["3", ""], "date": [NOBODY["date"]] * 2, "spans": [[], ["red"]]}
    asked = problem(answer=several, validated_answers=checked)
    assert asked.metadata["golds"] == (("red", "blue"), ("3",), ("red",))
    assert problem(answers_spans={"spans": ["a b", "b"], "types": ["span", "span"]}).metadata["golds"] == (
        ("a b",),
        ("b",),
    )
    assert problem(ref_text="12|12 men").metadata["golds"] == (("12",), ("12 men",))
    with pytest.raises(AhaError, match="Row 1 has no passage"):
        problem(answer=NOBODY)


def test_an_answer_is_worth_its_best_reference():
    from dataclasses import replace

    asked = problem(answer={**NOBODY, "spans": ["red", "blue"]})
    asked = replace(asked, metadata={**asked.metadata, PLACE: "boxed"})
    assert drop.verify(asked, "So \\boxed{blue and red}.").outcome is Outcome.CORRECT
    verdict = drop.verify(asked, "So \\boxed{blue}.")
    assert (verdict.outcome, verdict.value) == (Outcome.WRONG, 0.5)
    assert drop.verify(asked, "blue").outcome is Outcome.NO_ANSWER
    assert drop.verify_lenient(asked, "I think:\nblue, red").outcome is Outcome.CORRECT
    assert drop.vote(asked, "\\boxed{the blue one}") == "blue one"
    assert drop.prove(asked, {}) == ""
