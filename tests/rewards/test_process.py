"""Equations of the chain of thought, graded one by one."""

from __future__ import annotations

import time

import numpy as np
import pytest

from aha.rewards import get_reward
from aha.rewards.process import equations
from aha.types import Finish, Outcome, Problem, Rollout, Verdict

PROBLEM = Problem("p", "countdown", ({"role": "user", "content": "?"},), "1")


def score(text, **options):
    rollout = Rollout(np.zeros(1), np.zeros(1), np.zeros(1), text, Finish.STOP)
    return equations(**options)(PROBLEM, [rollout])[0]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("3*4=12 no. 7+5*2=7+10=17 yes!</think>", [1, 1]),
        ("3*4=13 no. 7+5=12", [-1, 1]),
        ("(2+3)*4=20, 7-=3, x+1=2", [1, -1]),  # the last two: no sides to compare but 1=2
        ("nothing here", []),
        ("3*4=12</think> <answer>5=6</answer>", [1]),
    ],
)
def test_steps_by_hand(text, values):
    assert [value for _, value in score(text).steps] == values


def test_a_step_ends_where_it_is_written():
    text = "try 3*4=12 no."
    ((end, _),) = score(text).steps
    assert text[:end] == "try 3*4=12"


def test_value_is_the_mean_and_the_note_counts():
    got = score("1+1=2. 1+1=3. 2*2=4.")
    assert got.value == pytest.approx(1 / 3)
    assert got.note == "2 of 3 equations hold"


def test_hostile_text_is_linear():
    started = time.thread_time()
    for text in ("1=" * 50_000, "(" * 100_000, "1+" * 50_000 + "=1", "9" * 100_000 + "=9"):
        score(text)
    assert time.thread_time() - started < 2


def test_options_by_name():
    def verify(problem, text):
        return Verdict(Outcome.WRONG)

    rollout = Rollout(np.zeros(1), np.zeros(90), np.zeros(90), "x", Finish.STOP)
    assert get_reward("accuracy:wrong=-1", verify)(PROBLEM, [rollout])[0].value == -1
    reward = get_reward("soft_overlong:max_length=100,buffer=20", verify)
    assert reward(PROBLEM, [rollout])[0].value == pytest.approx(-0.5)
    with pytest.raises(Exception, match="wrongg"):
        get_reward("accuracy:wrongg=-1", verify)
    with pytest.raises(Exception, match="key=value"):
        get_reward("accuracy:wrong", verify)


def test_a_lenient_reward_pays_an_answer_wherever_it_stands(tmp_path):
    from aha.chat import choose
    from aha.rewards import get_rewards
    from aha.tasks import get_task

    (tmp_path / "rows.jsonl").write_text('{"question": "2 + 2?", "answer": "4"}\n' * 30)
    task = get_task("gsm8k", str(tmp_path / "rows.jsonl"))
    (problem,) = [choose("r1_zero").asked(p) for p in task.load("all", 1, 0)]
    rewards = get_rewards({"accuracy": 1.0, "lenient": 0.5}, task.verify, task.verify_lenient)
    texts = ["<think>sum</think><answer>4</answer>", "It makes 4.", "It makes 5."]
    rollouts = [Rollout(np.zeros(1), np.zeros(1), np.zeros(1), text, Finish.STOP) for text in texts]
    values = [[reward(problem, [r])[0].value for _, reward in rewards.values()] for r in rollouts]
    assert values == [[1, 1], [0, 1], [0, 0]]
