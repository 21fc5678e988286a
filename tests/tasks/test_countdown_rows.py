"""Countdown from rows of numbers and a target."""

from __future__ import annotations

import json

import pytest

from aha.tasks import countdown, get_task, reads_rows, rows
from aha.tasks.countdown_rows import READER
from aha.types import Outcome


@pytest.mark.parametrize(
    "row",
    [
        {"target": 98, "nums": [44, 19, 35]},
        {"prompt": "x", "reward_model": {"ground_truth": {"target": 98, "numbers": [44, 19, 35]}}},
    ],
)  # fmt: skip
def test_rows_are_graded(tmp_path, row):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    task = get_task("countdown", str(path))
    [problem] = task.load("all", 9, 0)
    expression = next(e for e in countdown.expressions([44, 19, 35], "+-*/") if e.value == 98)
    assert (
        task.verify(problem, f"<think>so</think><answer>{expression.text}</answer>").outcome
        is Outcome.CORRECT
    )
    assert task.verify(problem, "<think>so</think><answer>44+19+35+0</answer>").outcome is Outcome.WRONG
    assert task.verify(problem, "<think>so</think><answer>98</answer>").outcome is Outcome.WRONG
    assert "44" in problem.messages[0]["content"]
    assert "98" in problem.messages[0]["content"]
    assert reads_rows("countdown", str(path))
    assert not reads_rows("countdown")


def test_what_has_no_solution_is_set_aside(tmp_path):
    path = tmp_path / "rows.jsonl"
    records = [
        {"target": 98, "nums": [44, 19, 35]},
        {"target": 97, "nums": [1, 1, 1]},
        {"target": 5, "nums": "1 2"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in records))
    problems = rows.read(str(path), READER, "countdown")
    assert [p.metadata["target"] for p in problems.problems] == [98]
    assert "do not make its target" in problems.aside[0].reason
    assert "no nums and target" in problems.aside[1].reason
