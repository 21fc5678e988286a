"""Arithmetic: answers by an independent reading of the question, disjoint splits, all kinds."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from aha.tasks import arithmetic, get_task
from aha.types import AhaError, Outcome


@pytest.fixture(scope="module")
def task():
    return get_task("arithmetic")


def test_bare_calculations_are_right(task):
    seen = 0
    for problem in task.load("train", 400, 0):
        sum_asked = re.fullmatch(r"What is (\d+) ([-+*]) (\d+)\?", problem.messages[0]["content"])
        if sum_asked:
            a, op, b = int(sum_asked[1]), sum_asked[2], int(sum_asked[3])
            assert int(problem.answer) == {"+": a + b, "-": a - b, "*": a * b}[op]
            seen += 1
    assert seen > 20


def test_word_problems_hold_their_numbers_and_answers_below_nothing(task):
    for problem in task.load("train", 400, 1):
        text = problem.messages[0]["content"]
        assert sorted(map(int, re.findall(r"\d+", text))) == sorted(problem.metadata["numbers"])
        assert "{" not in text
        assert int(problem.answer) >= 0


def test_every_kind_comes_up_and_has_a_facet(task):
    kinds = Counter(task.facet(p) for p in task.load("train", 400, 0))
    assert set(kinds) == {k.name for k in arithmetic.KINDS}
    assert min(kinds.values()) > 20


def test_splits_share_no_numbers(task):
    numbers = {
        split: {tuple(sorted(p.metadata["numbers"])) for p in task.load(split, 300, 0)}
        for split in ("train", "validation", "test")
    }
    assert not numbers["train"] & numbers["test"]
    assert not numbers["train"] & numbers["validation"]
    assert [p.id for p in task.load("test", 20, 0)] == [p.id for p in task.load("test", 20, 0)]
    with pytest.raises(AhaError, match="no split"):
        task.load("tset", 3, 0)


def test_graded_by_box_or_tags_and_leniently_by_the_last_number(task):
    problem = task.load("test", 1, 0)[0]
    right = problem.answer
    assert task.verify(problem, f"So \\boxed{{{right}}}").outcome is Outcome.CORRECT
    assert task.verify(problem, f"<think>a</think> <answer> {right} </answer>").outcome is Outcome.CORRECT
    assert task.verify(problem, f"It is {right}.").outcome is Outcome.NO_ANSWER
    assert task.verify_lenient(problem, f"It is {right}.").outcome is Outcome.CORRECT
    assert task.verify(problem, f"\\boxed{{{int(right) + 1}}}").outcome is Outcome.WRONG
