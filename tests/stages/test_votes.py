"""Majority and best-of-k over all subsets, against counting the subsets one by one."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from aha.stages.evaluation.figures import pass_at_k
from aha.stages.evaluation.votes import best_of, majority


def counted(votes, k):
    """The mean over every subset; each of the tied answers counts alike."""
    worth = []
    for subset in itertools.combinations(votes, k):
        counts = Counter(ballot for ballot, _ in subset if ballot)
        top = [b for b, c in counts.items() if c == max(counts.values())]
        right = {ballot for ballot, mark in subset if mark}
        worth.append(sum(b in right for b in top) / len(top) if top else 0.0)
    return sum(worth) / len(worth)


@pytest.mark.parametrize("seed", range(12))
def test_majority_is_the_mean_over_all_subsets(seed):
    rng = random.Random(seed)
    right = rng.sample("abcd", rng.choice([1, 1, 2]))
    votes = [(b, b in right) for b in rng.choices(["", *"abcd"], k=9)]
    assert majority(votes) == pytest.approx([counted(votes, k) for k in range(1, 10)])


def test_majority_worked_by_hand():
    votes = [("7", True), ("7", True), ("3", False), ("", False)]
    # two of four: 77 and 7- twice are right, 73 is a tie four... of the six pairs: 77, 73, 7-, 73, 7-, 3-
    assert majority(votes)[1] == pytest.approx((1 + 0.5 + 1 + 0.5 + 1 + 0) / 6)
    assert majority(votes)[3] == 1.0
    assert majority([("", False)]) == [0.0]


def test_sixty_four_samples_take_no_time_and_stay_exact():
    rng = random.Random(1)
    votes = [(str(b), b == 3) for b in rng.choices(range(40), k=64)]
    shares = majority(votes)
    assert shares[0] == pytest.approx(sum(mark for _, mark in votes) / 64)
    assert all(0 <= x <= 1 for x in shares)


@pytest.mark.parametrize("seed", range(8))
def test_the_best_of_k_is_the_mean_over_all_subsets(seed):
    rng = random.Random(seed)
    scores = [rng.choice([0.0, 0.5, 1.0, 2.0]) for _ in range(7)]
    right = [rng.random() < 0.4 for _ in scores]
    for k in range(1, 8):
        worth = []
        for subset in itertools.combinations(range(7), k):
            top = [i for i in subset if scores[i] == max(scores[j] for j in subset)]
            # tied over all seven: the share of right ones among that score
            same = [i for i in range(7) if scores[i] == scores[top[0]]]
            worth.append(sum(right[i] for i in same) / len(same))
        assert best_of(scores, right)[k - 1] == pytest.approx(sum(worth) / len(worth))


def test_a_verifier_as_the_score_gives_pass_at_k():
    right = [True, False, True, False, False, False]
    assert best_of([float(r) for r in right], right) == pytest.approx(
        [pass_at_k(6, 2, k) for k in range(1, 7)]
    )
