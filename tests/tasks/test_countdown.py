"""Countdown: solvable problems, disjoint splits, honest grading."""

from __future__ import annotations

import pytest

from aha.rewards import get_reward
from aha.rewards.arithmetic import evaluate
from aha.tasks import countdown, get_task
from aha.types import AhaError, Finish, Outcome, Rollout


def rollout(text):
    import numpy as np

    return Rollout(np.array([1]), np.array([2]), np.array([0.0]), text, Finish.STOP)


@pytest.mark.parametrize("difficulty", [countdown.TINY, countdown.FULL])
def test_problems_are_solvable_and_within_the_difficulty(difficulty):
    for p in countdown.load(difficulty, "train", 25, 0):
        numbers, target = p.metadata["numbers"], p.metadata["target"]
        right = [e for e in countdown.expressions(numbers, difficulty.operators) if e.value == target]
        assert right
        assert not difficulty.unique or len(right) == 1
        assert difficulty.target_low <= target <= difficulty.target_high
        assert all(difficulty.low <= n <= difficulty.high for n in numbers)
        for e in right:
            verdict = countdown.verify(p, f"<think>x</think> <answer>{e.text}</answer>")
            assert verdict.outcome is Outcome.CORRECT, e.text


def test_splits_share_no_set_of_numbers():
    values = {
        split: {tuple(sorted(p.metadata["numbers"])) for p in countdown.load(countdown.TINY, split, 400, 0)}
        for split in ("train", "validation", "test")
    }
    assert not values["train"] & values["test"]
    assert not values["train"] & values["validation"]
    assert not values["validation"] & values["test"]


def test_problems_depend_on_the_seed_alone():
    ids = [[p.id for p in countdown.load(countdown.TINY, "train", 50, s)] for s in (0, 0, 1)]
    assert ids[0] == ids[1]
    assert ids[0] != ids[2]


def test_expressions_are_written_as_they_are_meant():
    for numbers in ((7, 3, 2), (9, 4, 4), (5, 6, 2, 3)):
        for e in countdown.expressions(numbers, "+-*/"):
            value = evaluate(e.text)
            assert value.value == e.value
            assert sorted(value.numbers) == sorted(numbers)


def test_commuted_and_regrouped_expressions_count_once():
    texts = [e.text for e in countdown.expressions((2, 3, 4), "+")]
    assert len(texts) == 1
    assert len(countdown.expressions((2, 3), "+-")) == 3  # 2+3, 2-3, 3-2


def test_a_trace_works_out_one_operation_at_a_time():
    (e,) = [e for e in countdown.expressions((13, 4, 22), "+-*") if e.value == 74]
    assert countdown.trace(e) == ["13*4+22", "52+22", "74"]


@pytest.mark.parametrize(
    ("answer", "outcome", "note"),
    [
        ("13*4+22", Outcome.CORRECT, ""),
        ("22+4*13", Outcome.CORRECT, ""),
        (" (13 * 4) + 22 ", Outcome.CORRECT, ""),
        ("13*4+22=74", Outcome.WRONG, "not an expression"),
        ("74", Outcome.WRONG, "uses [74]"),
        ("13*4+22+0", Outcome.WRONG, "uses [0, 4, 13, 22]"),
        ("13+4+22", Outcome.WRONG, "equals 39, not 74"),
        ("52+22", Outcome.WRONG, "uses"),
        ("__import__('os').system('true')", Outcome.WRONG, "not an expression"),
    ],
)
def test_grading(answer, outcome, note):
    p = countdown.make_problem((13, 4, 22), 74, countdown.TINY)
    verdict = countdown.verify(p, f"<think>t</think> <answer>{answer}</answer>")
    assert verdict.outcome is outcome
    assert note in verdict.note
    assert countdown.verify(p, answer).outcome is Outcome.NO_ANSWER


def test_tinyzero_and_rule_rewards():
    p = countdown.make_problem((13, 4, 22), 74, countdown.TINY)
    texts = ["nothing", "<think>a</think><answer>13+4</answer>", "<think>a</think> <answer>13*4+22</answer>"]

    def values(name):
        return [s.value for s in get_reward(name, countdown.verify)(p, [rollout(t) for t in texts])]

    assert values("tinyzero") == [0.0, 0.1, 1.0]
    assert values("accuracy") == [0.0, 0.0, 1.0]
    assert values("format") == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "text", ["2² 3 -> 6", "2 3 -> ²", "2 3 -> " + "6" * 5000, "-> 5", "2 3 -> x", "2 3 ->"]
)
def test_what_is_no_game_is_asked_as_it_stands(text):
    assert countdown.spelled_out(text) == text
    assert "171" in countdown.spelled_out("24 7, 3 -> 171") != "24 7, 3 -> 171"


def test_lenient_grading_finds_an_answer_outside_the_tags():
    p = countdown.make_problem((13, 4, 22), 74, countdown.TINY)
    assert countdown.verify_lenient(p, "I think so 13*4+22").outcome is Outcome.CORRECT
    assert countdown.verify_lenient(p, "no idea (really)").outcome is Outcome.NO_ANSWER


def test_equal_answers_vote_together():
    p = countdown.make_problem((13, 4, 22), 74, countdown.TINY)
    ballots = [countdown.vote(p, f"<answer>{a}</answer>") for a in ("13*4+22", "22+4*13", "13+4+22", "x")]
    assert ballots[0] == ballots[1] != ballots[2]
    assert countdown.vote(p, "none") is None


def test_asking_for_more_than_there_is():
    few = countdown.CountdownDifficulty(counts=(2,), high=3, operators="+")
    with pytest.raises(AhaError, match="Ask for fewer"):
        countdown.load(few, "test", 100, 0)


def test_unknown_task_and_split():
    with pytest.raises(AhaError, match="Did you mean 'countdown'"):
        get_task("countdwn")
    with pytest.raises(AhaError, match="no split 'dev'"):
        get_task("countdown").load("dev", 3, 0)
    with pytest.raises(AhaError, match="takes no --data"):
        get_task("logic", data="x.jsonl")
