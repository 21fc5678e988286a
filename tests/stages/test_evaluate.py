"""The figures of an evaluation, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from aha.rewards.accuracy import accuracy
from aha.rewards.format import strict_format
from aha.sampling.rollouts import score_group
from aha.stages.evaluation.evaluate import figures
from aha.stages.evaluation.figures import interval, pass_at_k
from aha.tasks import countdown
from aha.types import Finish, Rollout, Score

TASK = countdown.task()


def rollout(text, tokens=10, finish=Finish.STOP):
    return Rollout(np.array([1, 2]), np.arange(tokens), np.full(tokens, -0.5, np.float32), text, finish)


def group(*answers, target=74):
    problem = countdown.make_problem((13, 4, 22), target, countdown.TINY)
    rewards = {"accuracy": (1.0, accuracy(TASK.verify)), "format": (0.0, strict_format())}
    return score_group(problem, [a if isinstance(a, Rollout) else rollout(a) for a in answers], rewards)


RIGHT = "<think>wait, no. 13*4+22</think> <answer>13*4+22</answer>"
WRONG = "<think>a</think> <answer>13+4+22</answer>"
NO_FORMAT = "so <answer>13*4+22</answer>"


def test_pass_at_one_counts_format_only_if_strict():
    groups = [group(RIGHT, WRONG, NO_FORMAT, NO_FORMAT), group(WRONG, WRONG, WRONG, WRONG)]
    strict, loose = figures(groups, TASK), figures(groups, TASK, strict=False)
    assert strict["pass@1"] == pytest.approx(1 / 8)
    assert loose["pass@1"] == pytest.approx(3 / 8)
    assert strict["lenient"] == pytest.approx(3 / 8)
    assert strict["format"] == pytest.approx(6 / 8)
    assert strict["pass@4"] == pytest.approx(0.5)
    assert (strict["n_problems"], strict["n_samples"]) == (2, 4)


def test_pass_at_k_is_unbiased():
    assert pass_at_k(16, 0, 8) == 0
    assert pass_at_k(16, 16, 1) == 1
    assert pass_at_k(4, 1, 2) == pytest.approx(0.5)
    assert pass_at_k(10, 3, 5) == pytest.approx(1 - (7 * 6 * 5 * 4 * 3) / (10 * 9 * 8 * 7 * 6))


def test_majority_vote_by_hand():
    other = "<think>a</think> <answer>22+4*13</answer>"
    assert figures([group(RIGHT, other, WRONG)], TASK)["maj@3"] == 1, "equal answers vote together"
    assert figures([group(WRONG, WRONG, RIGHT)], TASK)["maj@3"] == 0
    assert figures([group(WRONG, RIGHT)], TASK)["maj@2"] == 0.5, "a tie counts in parts"
    assert figures([group("none", "none")], TASK)["maj@2"] == 0


def test_ungradable_answers_leave_the_mean():
    sampled = group(RIGHT, WRONG, WRONG)
    members = list(sampled.members)
    broken = {**members[2].scores, "accuracy": Score(None, "timeout")}
    members[2] = type(members[2])(members[2].rollout, broken, None)
    result = figures([type(sampled)(sampled.problem, tuple(members))], TASK)
    assert result["pass@1"] == pytest.approx(0.5)
    assert result["ungradable"] == pytest.approx(1 / 3)


def test_text_figures():
    result = figures([group(rollout(RIGHT, 10), rollout(WRONG, 30, Finish.LENGTH))], TASK)
    assert result["mean_length"] == 20
    assert result["truncated"] == 0.5
    assert result["reflection_words"]["wait"] == 0.5


def test_interval_holds_the_mean_and_narrows_with_problems():
    rng = np.random.default_rng(0)
    few, many = rng.random(20), rng.random(2000)
    low, high = interval(few)
    assert low < few.mean() < high
    assert np.diff(interval(many))[0] < (high - low) / 5


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [  # Wilson's intervals worked by hand: (p + z2/2n -+ z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n)
        (0, 10, 0.0, 0.27753),
        (10, 10, 0.72247, 1.0),
        (0, 1, 0.0, 0.79346),
        (5, 10, 0.23659, 0.76341),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_few_problems_have_a_wide_interval_at_both_ends(right, n, low, high):
    assert interval(np.array([1.0] * right + [0.0] * (n - right))) == pytest.approx((low, high), abs=0.012)


def test_samples_of_one_problem_are_not_independent():
    """Rates that differ between problems only: as wide as one sample each. Equal rates: narrower, never nothing."""
    apart = interval(np.array([1.0, 0.0] * 20))
    alike = interval(np.array([0.45, 0.55] * 20))
    assert apart == pytest.approx((0.352, 0.648), abs=0.01)
    assert 0 < alike[1] - alike[0] < (apart[1] - apart[0]) / 3
    assert interval(np.full(4, 0.5))[1] - interval(np.full(4, 0.5))[0] > 0.5


def test_intervals_hold_the_truth_as_often_as_they_say():
    """4 samples of each of 30 problems whose rates are drawn anew: the mean rate lies inside in about 95 %."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(2000):
        rates = rng.beta(0.3, 1.2, 30)
        low, high = interval(rng.binomial(4, rates) / 4)
        inside += low <= 0.2 <= high
    assert 0.92 <= inside / 2000 <= 0.98


def test_a_reward_that_loses_a_rollout_is_an_error():
    from aha.types import AhaError

    with pytest.raises(AhaError, match="gave 0 scores for 1"):
        score_group(group(RIGHT).problem, [rollout(RIGHT)], {"bad": (1.0, lambda p, r: [])})


def test_one_ungradable_score_makes_the_reward_none():
    rewards = {"a": (1.0, lambda p, r: [Score(1.0)]), "b": (0.0, lambda p, r: [Score(None, "timeout")])}
    assert score_group(group(RIGHT).problem, [rollout(RIGHT)], rewards).members[0].reward is None


def test_figures_are_told_apart_by_kind_of_problem():
    """Two problems of 3 numbers, one of 4: pass@1 of each kind, none where there is one kind only."""
    from aha.stages.evaluation.evaluate import _by_facet
    from aha.types import Group, Problem, Rollout, Scored

    def group(kind, length):
        problem = Problem(kind, "t", ({"role": "user", "content": "?"},), "1", metadata={"kind": kind})
        rollout = Rollout(np.zeros(1), np.zeros(length), np.zeros(length), "", Finish.STOP)
        return Group(problem, (Scored(rollout, {}, 0.0),) * 2)

    groups = [group("a", 10), group("a", 20), group("b", 40)]
    right = [np.array([1.0, 0.0]), np.array([1.0, np.nan]), np.array([0.0, 0.0])]
    by_kind = _by_facet(groups, right, lambda p: p.metadata["kind"])
    assert by_kind["a"]["pass@1"] == 0.75
    assert by_kind["a"]["mean_length"] == 15
    assert (by_kind["b"]["pass@1"], by_kind["b"]["pass@n"], by_kind["b"]["n_problems"]) == (0, 0, 1)
    assert _by_facet(groups[:2], right[:2], lambda p: "same") == {}


def test_json_is_all_that_is_printed(capsys):
    import json

    from aha.cli import main

    assert main(["eval", "tiny", "--problems", "2", "--samples", "2", "--max-tokens", "8", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["n_problems"] == 2
