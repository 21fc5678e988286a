"""A run whose answers earn nothing says why, on real rows' shapes: counts, one example, what would help."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aha.rewards.accuracy import accuracy
from aha.rewards.format import strict_format
from aha.sampling.rollouts import score_group
from aha.stages.evaluation.flat_reward import FIRST_SAMPLES, FirstLook, explain
from aha.tasks.math_word import task as math_task
from aha.types import Finish, Problem, Rollout

QUESTION = "Natalia sold 48 clips in April and half as many in May. How many clips did she sell altogether?"


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({"question": f"{QUESTION} {i}", "answer": "#### 72"}) + "\n" for i in range(40))
    )
    return math_task(str(path), "gsm8k")


def group(task, *texts, finish=Finish.STOP):
    problem = Problem("p", "gsm8k", ({"role": "user", "content": QUESTION},), "72")
    rollouts = [Rollout(np.zeros(1), np.zeros(3), np.zeros(3), t, finish) for t in texts]
    rewards = {"accuracy": (1.0, accuracy(task.verify)), "format": (1.0, strict_format())}
    return score_group(problem, rollouts, rewards)


def test_answers_that_were_never_asked_into_a_box(task):
    said = explain(
        [group(task, "She sold 72 clips.", "48 + 20 = 68", "I cannot say.", "The answer is 72.")],
        task,
        "chat",
        99,
    )
    assert (
        "3 hold an answer somewhere in their text (2 the right one), but 4 have none in \\boxed{} or <answer>"
        in said
    )
    assert "prompt=boxed would ask for it" in said
    assert "She sold 72 clips." in said
    assert "reference: 72" in said
    assert "prompt=boxed asks for it, and this model does not" in explain(
        [group(task, "72")], task, "boxed", 99
    )


def test_answers_that_were_cut(task):
    said = explain(
        [group(task, "Let me", "First", finish=Finish.LENGTH), group(task, "72")], task, "boxed", 200
    )
    assert "2 were cut at max_tokens=200" in said
    assert "Raise max_tokens" in said


def test_empty_and_wrong_answers(task):
    assert "2 are empty" in explain([group(task, "", " \n")], task, "boxed", 99)
    said = explain([group(task, "\\boxed{71}", "I have 72, so \\boxed{7}")], task, "boxed", 99)
    assert "None of the first 2 answers is right" in said
    assert "easier questions" in said


def test_one_right_answer_is_enough_to_learn_from(task):
    assert explain([group(task, "\\boxed{72}", "no", "no", "no")], task, "boxed", 99) == ""
    assert explain([], task, "boxed", 99) == ""


def test_it_speaks_once_and_early(task):
    said: list[str] = []
    look = FirstLook(task, "chat", 99, said.append)
    for _ in range(FIRST_SAMPLES // 4 - 1):
        look.note(group(task, *["72"] * 4))
    assert said == []
    look.note(group(task, *["72"] * 4))
    assert len(said) == 1
    look.note(group(task, "\\boxed{72}"))
    look.close()
    assert len(said) == 1


def test_a_run_says_so_before_it_trains(tmp_path, capsys, task):
    """The embedded base knows no word problems: the first evaluation says so, and the run's warnings keep it."""
    from aha.cli import main

    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(
            json.dumps({"question": f"{QUESTION} {i}", "answer": "#### 720101"}) + "\n" for i in range(80)
        )
    )
    small = [
        "rl.steps=1",
        "rl.prompts_per_step=2",
        "rl.group_size=2",
        "rl.mini_batches=1",
        "rl.max_tokens=24",
        "rl.eval_every=0",
        "rl.max_prompt_tokens=400",
        "rl.test_problems=2",
        "rl.test_samples=2",
    ]
    words = [
        "zero",
        "--task",
        "gsm8k",
        "--data",
        str(rows),
        "--runs-dir",
        str(tmp_path),
        "--no-doctor",
        "--threads",
        "1",
    ]
    main([*words, *small])
    assert "None of the first" in capsys.readouterr().out
    (folder,) = tmp_path.rglob("warnings.jsonl")
    first = json.loads(folder.read_text().splitlines()[0])
    assert (first["key"], first["step"]) == ("flat_reward", 0)
