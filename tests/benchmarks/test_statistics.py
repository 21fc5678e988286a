"""Statistics over problems, against numbers worked by hand and independent ways of counting."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from aha.benchmarks.records import GradedAnswer, GradedProblem
from aha.benchmarks.statistics import consensus, paired, summary
from aha.runs.paired import bootstrap
from aha.stages.evaluation.figures import Z, interval, pass_at_k, powers


def sample(right, ballot="", tokens=10, truncated=False, after=None, lenient=None):
    return GradedAnswer(
        right, bool(right) if lenient is None else lenient, True, ballot, tokens, truncated, after
    )


def record(name, marks, kind=""):
    return GradedProblem(name, kind, tuple(sample(m, "r" if m else "w") for m in marks))


def test_powers_end_at_the_number_itself():
    assert powers(1) == [1]
    assert powers(6) == [1, 2, 4, 6]
    assert powers(64) == [1, 2, 4, 8, 16, 32, 64]


def test_figures_of_two_problems_worked_by_hand():
    figures = summary([record("a", [1, 1, 0, 0]), record("b", [0, 0, 0, 1])])
    assert figures["pass@1"] == pytest.approx((0.5 + 0.25) / 2)
    # pass@2 by all pairs of samples
    by_pairs = [np.mean([max(p) for p in itertools.combinations(m, 2)]) for m in ([1, 1, 0, 0], [0, 0, 0, 1])]
    assert figures["pass@2"] == pytest.approx(np.mean(by_pairs))
    assert figures["pass@4"] == 1.0
    # pairs: a: one of rr, one of ww, four ties; b: three ties, three of ww. A tie counts half.
    assert figures["cons@2"] == pytest.approx(((1 + 4 / 2) / 6 + (3 / 2) / 6) / 2)
    assert figures["cons@4"] == pytest.approx((1 / 2 + 0) / 2)


def test_votes_count_by_value_and_none_is_no_vote():
    votes = [sample(False, "3"), sample(True, "7"), sample(True, "7"), sample(False, "")]
    assert consensus(votes)[3] == 1.0
    assert consensus([sample(False, ""), sample(False, "")]) == [0.0, 0.0]


def test_ungradable_answers_leave_the_rate_and_are_counted():
    figures = summary(
        [
            GradedProblem("a", "", (sample(True), sample(None))),
            GradedProblem("b", "", (sample(None), sample(None))),
        ]
    )
    assert figures["pass@1"] == 1.0  # of the one that could be graded
    assert figures["ungradable"] == pytest.approx(3 / 4)


def test_of_fewer_than_k_graded_samples_nothing_is_said_about_k():
    """Two of three graded: pass@2 and cons@2 are theirs, and a problem that was graded whole has pass@3 alone."""
    part = GradedProblem("a", "", (sample(True, "7"), sample(False, "8"), sample(None, "9")))
    figures = summary([part])
    assert figures["pass@2"] == 1.0
    assert figures["cons@2"] == 0.5
    assert (figures["pass@3"], figures["cons@3"]) == (None, None)
    assert summary([part, record("b", [0, 0, 0])])["pass@3"] == 0.0
    assert math.isnan(pass_at_k(2, 0, 4))


def test_what_could_not_be_graded_is_no_wrong_vote_and_no_wrong_lenient_answer():
    """A problem without a verdict says nothing of any figure; JSON has no NaN."""
    mute = GradedProblem("a", "x", (GradedAnswer(None, None, True, "7", 5, False),) * 2)
    figures = summary([mute])
    assert [figures[k] for k in ("pass@1", "pass@1_ci", "lenient", "lenient_ci", "cons@2")] == [None] * 5
    figures = summary([mute, GradedProblem("b", "y", (sample(True, "7"),) * 2)])
    assert (figures["lenient"], figures["cons@2"], figures["pass@2"]) == (1.0, 1.0, 1.0)
    json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize(("right", "n"), [(0, 7), (3, 10), (81, 263), (7, 7)])
def test_an_interval_of_single_answers_is_wilsons(right, n):
    """Each end is the rate from which the figure lies just Z standard errors of that rate away."""
    low, high = interval(np.array([1.0] * right + [0.0] * (n - right)))
    for end in {low, high} - {0.0, 1.0}:
        assert abs(right / n - end) == pytest.approx(Z * math.sqrt(end * (1 - end) / n))
    assert (low == 0.0, high == 1.0) == (right == 0, right == n)


def test_samples_of_one_problem_do_not_make_an_interval_narrower_than_their_spread():
    """Ten problems with the rates 0 and 1 are ten draws, however many samples made the rates; rates of 0.4 and 0.6
    are as many as are spread so."""
    hard = interval(np.array([0.0, 1.0] * 5))
    assert hard == pytest.approx(interval(np.array([1.0] * 5 + [0.0] * 5)))
    low, high = interval(np.array([0.4, 0.6] * 5))
    spread = np.var([0.4, 0.6] * 5, ddof=1) / 10
    n = 0.25 / spread
    assert abs(0.5 - low) == pytest.approx(Z * math.sqrt(low * (1 - low) / n))
    assert high == pytest.approx(1 - low)


def test_lengths_of_right_and_wrong_answers():
    samples = (sample(True, tokens=10, after=4), sample(False, tokens=30), sample(True, tokens=20, after=0))
    figures = summary([GradedProblem("a", "", samples)])
    assert (figures["tokens_right"], figures["tokens_wrong"], figures["tokens_per_right"]) == (15, 30, 30)
    assert figures["after_answer"] == pytest.approx((4 / 10 + 0) / 2)


def test_kinds_have_figures_of_their_own():
    figures = summary([record("a", [1, 1], "easy"), record("b", [0, 1], "hard"), record("c", [0, 0], "hard")])
    assert figures["by"]["easy"]["pass@1"] == 1.0
    assert figures["by"]["hard"]["pass@1"] == 0.25
    assert figures["by"]["hard"]["problems"] == 2


def test_an_interval_of_problems_covers_as_often_as_it_says():
    """Of samples drawn from known rates, 95% of the intervals hold the mean (problems are what is drawn)."""
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        rates = rng.beta(2, 2, 60)
        low, high = bootstrap(rng.binomial(8, rates) / 8, trial)
        covered += low <= 0.5 <= high
    assert 0.9 <= covered / 200 <= 0.985


def test_two_models_that_are_alike_cannot_be_told_apart_and_others_can():
    rng = np.random.default_rng(1)
    easy = [record(str(i), rng.random(8) < 0.5) for i in range(80)]
    alike = [record(str(i), rng.random(8) < 0.5) for i in range(80)]
    better = [record(str(i), rng.random(8) < 0.8) for i in range(80)]
    same, other = paired(easy, alike), paired(easy, better)
    assert not same.told_apart
    assert "cannot be told apart" in same.sentence("A", "B")
    assert other.told_apart
    assert other.sentence("A", "B").startswith("B is better than A on 80 problems")
    assert other.difference == pytest.approx(0.3, abs=0.08)


def test_several_pairs_share_the_five_percent():
    """Six problems that all moved one way, p = 2 / 64: enough for one pair, and one of three may do so by chance."""
    a, b = ([record(str(i), [mark]) for i in range(6)] for mark in (0, 1))
    assert paired(a, b).told_apart
    three = paired(a, b, pairs=3)
    assert not three.told_apart
    assert "cannot be told apart" in three.sentence("A", "B")
    assert three.sentence("A", "B").endswith("as one of so many pairs differs by chance")


def test_the_sign_test_is_exact_enough():
    """Ten problems that all moved one way: 2 of 1,024 sign patterns lie as far out."""
    a, b = ([record(str(i), [mark]) for i in range(10)] for mark in (0, 1))
    comparison = paired(a, b)
    assert comparison.p == pytest.approx(2 / 1024, abs=2e-3)
    assert comparison.second_only == tuple(map(str, range(10)))
    assert comparison.first_only == ()


def test_only_problems_of_both_are_compared():
    comparison = paired([record("a", [1]), record("b", [1])], [record("b", [0]), record("c", [1])])
    assert comparison.problems == 1
    assert comparison.difference == -1
    assert comparison.unshared == 2
    assert "(2 problems that only one has are left out)" in comparison.sentence("A", "B")
    nothing = paired([record("a", [1])], [record("b", [1])])
    assert nothing.sentence("A", "B") == "A and B cannot be told apart: no problem has a figure of both"


def test_nothing_that_was_asked_has_no_figures():
    figures = summary([])
    assert (figures["problems"], figures["pass@1"], figures["mean_tokens"]) == (0, None, None)
