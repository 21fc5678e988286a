"""Length rewards against values worked out by hand, at the edges above all."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.rewards.length import (
    cosine,
    graded_once,
    kimi_length,
    l1_exact,
    l1_max,
    repeated_share,
    repetition_penalty,
    soft_overlong,
)
from aha.types import AhaError, Finish, Problem, Rollout, Score

PROBLEM = Problem("p", "math", (), metadata={"target_length": 1000})


def rollout(tokens: int | list[int], finish: Finish = Finish.STOP) -> Rollout:
    ids = np.arange(tokens) if isinstance(tokens, int) else np.array(tokens, dtype=np.int64)
    return Rollout(np.zeros(1, np.int64), ids, np.zeros(len(ids)), "", finish)


def values(reward, *lengths: int | list[int]) -> list[float | None]:
    return [score.value for score in reward(PROBLEM, [rollout(n) for n in lengths])]


def known(*correct: float | None) -> dict[str, list[float | None]]:
    return {"p": list(correct)}


def test_soft_overlong_falls_over_the_buffer():
    reward = soft_overlong(max_length=100, buffer=20)
    assert values(reward, 0, 80, 81, 90, 99, 100, 101, 1000) == [0, 0, -0.05, -0.5, -0.95, -1, -1, -1]
    assert values(soft_overlong(max_length=100, buffer=0), 100, 101) == [0, -1]
    assert values(soft_overlong(max_length=20_480, buffer=4_096), 16_384, 18_432, 20_480) == [0, -0.5, -1]
    with pytest.raises(AhaError, match="buffer"):
        soft_overlong(max_length=10, buffer=11)


def test_kimi_compares_within_the_group():
    assert values(kimi_length(accuracy=known(1, 1, 1, 1)), 100, 200, 300, 500) == [0.5, 0.25, 0, -0.5]
    assert values(kimi_length(accuracy=known(0, 0, 0, 0)), 100, 200, 300, 500) == [0, 0, 0, -0.5]
    assert values(kimi_length(accuracy=known(0, 1, 0)), 100, 300, 500) == [0, 0, -0.5]


def test_kimi_is_zero_where_all_are_equally_long():
    assert values(kimi_length(accuracy=known(1, 0, 1)), 100, 100, 100) == [0, 0, 0]
    assert values(kimi_length(accuracy=known(1)), 100) == [0]
    assert values(kimi_length(accuracy=known())) == []


def test_kimi_leaves_out_what_could_not_be_graded():
    assert values(kimi_length(accuracy=known(1, None, 1)), 100, 10_000, 200) == [0.5, None, -0.5]
    assert values(kimi_length(accuracy=known(None, None)), 100, 200) == [None, None]


def test_cosine_with_the_usual_values():
    reward = cosine(accuracy=known(1, 1, 1, 1), max_length=100)
    assert values(reward, 0, 50, 100, 400) == pytest.approx([1.0, 0.75, 0.5, 0.5])
    reward = cosine(accuracy=known(0, 0, 0, 0), max_length=100)
    assert values(reward, 0, 50, 100, 400) == pytest.approx([-1.0, -0.75, -0.5, -0.5])
    # 0.5 + 0.25 * (1 + cos(pi / 3)) and its mirror image
    assert values(cosine(accuracy=known(1, 0), max_length=300), 100, 100) == pytest.approx([0.875, -0.875])


def test_cosine_may_punish_what_exceeds_the_limit():
    reward = cosine(accuracy=known(1, 1, 0), max_length=100, exceed=-10, margin=10)
    assert values(reward, 89, 90, 200)[1:] == [-10, -10]
    assert values(reward, 89, 90, 200)[0] == pytest.approx(0.5, abs=0.02)


def test_cosine_may_punish_repetition_in_wrong_completions():
    options = {"max_length": 5, "repetition": -1.0, "ngram": 2}
    same = [7, 7, 7, 7, 7]  # four bigrams, one of them new: three quarters repeated
    assert values(cosine(accuracy=known(0, 1), **options), same, same) == pytest.approx([-1.25, 0.5])


def test_l1_exact_loses_alpha_a_token():
    reward = l1_exact(accuracy=known(1, 1, 1, 0), alpha=3e-4)
    assert values(reward, 1000, 900, 1100, 1100) == pytest.approx([1.0, 0.97, 0.97, -0.03])
    assert values(l1_exact(accuracy=known(1), target=10), 0) == pytest.approx([0.997])


def test_l1_max_is_held_between_0_and_1():
    reward = l1_max(accuracy=known(1, 1, 1, 1, 0), alpha=1e-3, delta=0.5)
    assert values(reward, 1000, 400, 1400, 1600, 1000) == pytest.approx([0.5, 1.0, 0.1, 0.0, 0.0])


def test_l1_needs_a_target():
    with pytest.raises(AhaError, match="'budget'"):
        values(l1_exact(accuracy=known(1), target="budget"), 10)


def test_repetition_penalty():
    reward = repetition_penalty(ngram=2, penalty=-1.0)
    assert values(reward, [1, 2, 3, 4], [5] * 5, [9], []) == [0, -0.75, 0, 0]
    # this is a this is a test: five trigrams, four different
    assert values(repetition_penalty(ngram=3, penalty=-2.0), [1, 2, 3, 1, 2, 3, 4]) == pytest.approx([-0.4])
    assert values(repetition_penalty(ngram=1), [1, 1]) == [-0.5]
    with pytest.raises(AhaError, match="ngram"):
        repetition_penalty(ngram=0)


def test_repetition_is_counted_in_linear_time():
    start = time.thread_time()
    assert repeated_share([1, 2] * 50_000, 40) > 0.99
    assert time.thread_time() - start < 2.0


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 5))
def test_repeated_share_is_the_definition(tokens: list[int], ngram: int):
    grams = [tuple(tokens[i : i + ngram]) for i in range(len(tokens) - ngram + 1)]
    expected = 1 - len(set(grams)) / len(grams) if grams else 0.0
    assert repeated_share(tokens, ngram) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(0, 500), st.sampled_from([None, -1.0, 0.0, 1.0])), max_size=8))
def test_bounds(group: list[tuple[int, float | None]]):
    lengths, accuracy = [n for n, _ in group], known(*(a for _, a in group))
    for reward, low, high in [
        (kimi_length(accuracy=accuracy), -0.5, 0.5),
        (cosine(accuracy=accuracy, max_length=100), -1, 1),
        (l1_max(accuracy=accuracy), 0, 1),
    ]:
        scored = values(reward, *lengths)
        assert [v is None for v in scored] == [a is None for _, a in group]
        assert all(low - 1e-9 <= v <= high + 1e-9 for v in scored if v is not None)


def test_accuracy_may_be_a_reward():
    def accuracy(problem: Problem, rollouts):
        return [Score(1.0 if len(r.completion_ids) < 250 else -1.0) for r in rollouts]

    assert values(kimi_length(accuracy=accuracy), 100, 200, 300) == [0.5, 0, -0.5]


def test_accuracies_that_do_not_fit_are_refused():
    with pytest.raises(AhaError, match="no accuracy was given for problem 'p'"):
        values(kimi_length(accuracy={}), 1)
    with pytest.raises(AhaError, match="2 rollouts but 1 accuracies"):
        values(kimi_length(accuracy=known(1)), 1, 2)


def test_what_the_engine_gave_up_on_has_no_score():
    for reward in (
        soft_overlong(max_length=10, buffer=2),
        repetition_penalty(),
        kimi_length(accuracy=known(1)),
        cosine(accuracy=known(1), max_length=10),
    ):
        assert reward(PROBLEM, [rollout(5, Finish.ABORT)])[0].value is None


def test_graded_once():
    calls = []

    def accuracy(problem: Problem, rollouts):
        calls.append(len(rollouts))
        return [Score(1.0) for _ in rollouts]

    once = graded_once(accuracy)
    group, other = [rollout(3), rollout(4)], [rollout(3), rollout(4)]
    for rollouts in (group, list(group), other, other, group, [], []):
        assert len(once(PROBLEM, rollouts)) == len(rollouts)
    assert calls == [2, 2, 2, 0, 0]
