"""Majority votes count values, not spellings."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from aha.tasks.math_word import vote
from aha.types import Problem

PROBLEM = Problem("p", "math", ({"role": "user", "content": "q"},), "1/2")


def ballots(*answers: str) -> list[str | None]:
    return [vote(PROBLEM, f"<answer>{answer}</answer>") for answer in answers]


def test_four_spellings_outvote_two_equal_wrong_answers() -> None:
    counts = Counter(ballots("2", "\\frac12", "2", "0.5", "\\dfrac12", "1/2"))
    winner = max(counts, key=lambda ballot: counts[ballot])
    assert sorted(counts.values()) == [2, 4]
    assert winner == ballots("$\\frac{1}{2}$")[0]


@pytest.mark.parametrize(
    "answers",
    [
        ("1000", "1,000", "1{,}000", "10^3", "1000 \\text{ m}"),
        ("50\\%", "\\frac12", "0.5"),
        ("x=1, y=2", "y=2, x=1", "\\begin{cases}x=1\\\\y=2\\end{cases}"),
        ("2\\sqrt2", "\\sqrt{8}", "2 \\sqrt{2}"),
        ("(x+1)^2", "x^2+2x+1"),
        ("[0,\\infty)", "x \\ge 0"),
        ("Tuesday", "\\text{tuesday}"),
        ("7\\text{人}", "7"),
        ("**7**", "7"),
    ],
)
def test_one_value_is_one_ballot(answers: tuple[str, ...]) -> None:
    assert len(set(ballots(*answers))) == 1


@pytest.mark.parametrize(
    "answers",
    [
        ("1/2", "2/1"), ("3:15", "6:30"), ("A", "B"), ("yes", "no"), ("1, 2", "1"), ("(1,2)", "(2,1)"),
        ("5\\text{ m}", "5\\text{ cm}")
],
)  # fmt: skip
def test_two_values_are_two_ballots(answers: tuple[str, ...]) -> None:
    assert len(set(ballots(*answers))) == 2


def test_garbage_votes_for_itself_and_costs_little() -> None:
    started = time.thread_time()
    garbage = ["{" * 50, "9^{9^9}", "\\foo" * 300, "😀", "(" * 90, *(f"{n}\\pi" for n in range(40))]
    assert len(Counter(ballots(*garbage, *garbage))) == len(garbage)
    assert time.thread_time() - started < 5
    assert ballots("")[0] is None
