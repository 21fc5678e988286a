"""Several tasks as one: shares, dispatch, errors."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.tasks import get_task, mixture
from aha.types import AhaError, Outcome, Problem


def test_shares_are_kept_and_problems_graded_by_their_own_task():
    task = get_task("countdown:0.5,logic:0.3,general:0.2")
    problems = task.load("train", 50, 0)
    assert Counter(p.task for p in problems) == {"countdown": 25, "logic": 15, "general": 10}
    assert len({p.id for p in problems}) == 50
    assert [p.task for p in problems] != sorted(p.task for p in problems), "shuffled"
    logic = next(p for p in problems if p.task == "logic")
    assert task.verify(logic, f"<answer>{logic.answer}</answer>").outcome is Outcome.CORRECT
    assert task.verify_lenient(logic, str(logic.answer)).outcome is Outcome.CORRECT
    assert task.vote(logic, f"<answer>{logic.answer}</answer>")
    countdown = next(p for p in problems if p.task == "countdown")
    assert task.verify(countdown, "<answer>1</answer>").outcome is Outcome.WRONG


def test_the_same_seed_gives_the_same_mixture():
    task = get_task("logic:1,code:1")
    assert [p.id for p in task.load("test", 20, 3)] == [p.id for p in task.load("test", 20, 3)]


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0.01, 100), min_size=1), st.integers(0, 500))
def test_dealing_out_is_exact_and_fair(shares, n):
    dealt = mixture.counts(shares, n)
    assert sum(dealt.values()) == n
    total = sum(shares.values())
    assert all(abs(dealt[name] - n * share / total) < 1 + 1e-6 for name, share in shares.items())


def test_parsing():
    assert mixture.parse("gsm8k=a/b:main.jsonl:0.5, logic:2") == {
        "gsm8k": ("a/b:main.jsonl", 0.5),
        "logic": (None, 2.0),
    }


@pytest.mark.parametrize("text", ["logic:", "logic:x", "logic:0", "logic:-1", ":1", "logic:1,,", "logic:nan"])
def test_bad_mixtures(text):
    with pytest.raises(AhaError, match="is no part of a mixture"):
        mixture.parse(text)


def test_errors_from_the_parts():
    with pytest.raises(AhaError, match="twice"):
        get_task("logic:1,logic:1")
    with pytest.raises(AhaError, match="Did you mean 'logic'"):
        get_task("logik:1,countdown:1")
    with pytest.raises(AhaError, match="instead of --data"):
        get_task("logic:1,countdown:1", data="rows.jsonl")
    with pytest.raises(AhaError, match="no part of"):
        get_task("logic:1,countdown:1").verify(Problem("x", "chess", ()), "text")
