"""Preference pairs: order shuffled, margins averaged, lengths balanced, finals only."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.data.pairs import Pair, balance_lengths, build_pairs, judge_pair
from aha.types import AhaError, Problem


def problem(i=0):
    return Problem(f"p{i}", "general", ({"role": "user", "content": f"question {i}"},))


def by_first_letter(question, a, b, seed):
    """Answers that begin with g are much better; x cannot be judged."""
    if "x" in (a[0], b[0]):
        return None
    return 3.0 * ((a[0] == "g") - (b[0] == "g"))


def test_both_orders_are_asked_twice_and_bias_cancels():
    asked = []

    def first_is_better(question, a, b, seed):
        asked.append((a, b, seed))
        return 1.0

    assert judge_pair(first_is_better, "q", "one", "two", random.Random(0)) == 0
    assert sorted(a for a, _, _ in asked) == ["one", "one", "two", "two"]
    assert len({seed for _, _, seed in asked}) == 4


def test_margins_are_averaged_from_the_first_answers_side():
    replies = iter([3.0, 3.0, 1.0, 1.0])

    def better(question, a, b, seed):
        return next(replies) * (1 if a == "one" else -1)

    assert judge_pair(better, "q", "one", "two", random.Random(0)) == 2.0


@pytest.mark.parametrize(
    ("replies", "margin"),
    [([3, None, 3, None], 3), ([3, None, None, None], None), ([None] * 4, None)],
)
def test_unread_verdicts_leave_the_mean(replies, margin):
    left = iter(replies)

    def some(question, a, b, seed):
        value = next(left)
        return None if value is None else value * (1 if a == "one" else -1)

    assert judge_pair(some, "q", "one", "two", random.Random(1)) == margin


def test_the_margin_must_be_above_one():
    for size, kept in ((1.0, 0), (3.0, 1)):
        pairs, report = build_pairs(
            [(problem(), ["long", "look"])],
            lambda q, a, b, s, size=size: size if a == "long" else -size,
            str,
        )
        assert len(pairs) == kept
        assert (report.kept, report.close) == (kept, 1 - kept)


def test_every_candidate_is_accounted_for():
    candidates = [
        (problem(0), ["good", "bad!"]),
        (problem(1), ["x", "bad"]),
        (problem(2), ["bad", "bod"]),
        (problem(3), ["same", " same "]),
    ]
    pairs, report = build_pairs(candidates, by_first_letter, str)
    assert [(p.chosen, p.rejected, p.margin) for p in pairs] == [("good", "bad!", 3.0)]
    assert (report.compared, report.kept, report.unjudged, report.close, report.same) == (3, 1, 1, 1, 1)
    row = pairs[0].row()
    assert row["prompt"] == [{"role": "user", "content": "question 0"}]
    assert row["chosen"] == [{"role": "assistant", "content": "good"}]


def test_the_judge_sees_finals_only_and_the_pair_keeps_the_whole():
    seen = []

    def compare(question, a, b, seed):
        seen.extend((a, b))
        return by_first_letter(question, a, b, seed)

    answers = ["<think>secret</think>good", "<think>other</think>bad!"]
    pairs, _ = build_pairs([(problem(), answers)], compare, lambda text: text.split("</think>")[1])
    assert set(seen) == {"good", "bad!"}
    assert pairs[0].chosen == answers[0]


def test_threads_and_order_change_nothing():
    from concurrent.futures import ThreadPoolExecutor

    def noisy(question, a, b, seed):
        return random.Random(f"{question}{a}{b}{seed}").choice((-3.0, 0.0, 3.0))

    candidates = [(problem(i), [f"answer {j}" for j in range(4)]) for i in range(30)]
    plain = build_pairs(candidates, noisy, str, per_problem=3, tolerance=9)[0]
    with ThreadPoolExecutor(4) as pool:
        threaded = build_pairs(candidates, noisy, str, per_problem=3, tolerance=9, mapper=pool.map)[0]
    turned = build_pairs(candidates[::-1], noisy, str, per_problem=3, tolerance=9)[0]
    assert plain == threaded
    assert sorted(map(key, plain)) == sorted(map(key, turned))
    assert 10 < len(plain) < 90


def key(pair):
    return pair.problem.id, pair.chosen, pair.rejected, pair.margin


def test_nothing_to_compare_is_said():
    with pytest.raises(AhaError, match="No two different answers"):
        build_pairs([(problem(), ["a", "a"])], by_first_letter, str)


def test_lengths_are_balanced_by_dropping_what_leans_most():
    lengths = [(40, 10), (10, 10), (12, 10), (9, 10), (100, 5)]
    pairs = [Pair(problem(i), "c" * c, "r" * r, 3.0) for i, (c, r) in enumerate(lengths)]
    assert [p.problem.id for p in balance_lengths(pairs, len, 0.1)] == ["p1", "p2", "p3"]
    assert balance_lengths([], len) == []


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), max_size=40))
def test_balanced_pairs_are_balanced(lengths):
    import math

    pairs = [Pair(problem(i), "c" * c, "r" * r, 3.0) for i, (c, r) in enumerate(lengths)]
    kept = balance_lengths(pairs, len, 0.2)
    ratios = [math.log((len(p.chosen) + 1) / (len(p.rejected) + 1)) for p in kept]
    assert not ratios or abs(sum(ratios) / len(ratios)) <= 0.2 + 1e-9
