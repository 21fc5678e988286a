"""Tasks of reasoning-gym and ``verifiers``, scored by their own code, which is installed beside aha
(``aha bench peers install reasoning-gym verifiers``)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from aha.tasks import get_task
from aha.types import AhaError, Outcome

pytestmark = pytest.mark.peers


@pytest.fixture
def library(monkeypatch):
    """Lets our process import what a peer's environment has, after what ours has."""

    def open_(name):
        places = list(
            Path(os.environ.get("AHA_PEERS", ".peers"), name).absolute().glob("lib/*/site-packages")
        )
        if not places:
            pytest.skip(f"aha bench peers install {name}")
        monkeypatch.setattr(sys, "path", [*sys.path, str(places[0])])

    return open_


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("chain_sum", ""),
        ("leg_counting", ""),
        ("basic_arithmetic", ":min_digits=1,max_digits=2"),
        ("syllogism", ""),
    ],
)
def test_a_data_set_of_reasoning_gym_is_asked_and_scored(library, name, options):
    library("reasoning-gym")
    task = get_task(f"reasoning_gym:{name}{options}")
    problems = list(task.load("train", 8, 1))
    assert len(problems) == 8
    assert len({p.messages[-1]["content"] for p in problems}) > 1
    for problem in problems:
        right = f"<think>\nI know it.\n</think>\n<answer> {problem.answer} </answer>"
        assert task.verify(problem, right).outcome is Outcome.CORRECT, problem
        assert (
            task.verify(problem, right.replace(str(problem.answer), "none of it")).outcome
            is not Outcome.CORRECT
        )
    assert not {p.id for p in problems} & {p.id for p in task.load("test", 8, 1)}


def test_an_unknown_data_set_is_refused_with_the_nearest(library):
    library("reasoning-gym")
    with pytest.raises(AhaError, match="chain_sum"):
        get_task("reasoning_gym:chain_sums").load("train", 1, 0)


TASKSET = """
from verifiers.v1 import Task, TaskData, Taskset, TasksetConfig
from verifiers.v1.utils.decorators import reward


class SumData(TaskData):
    answer: str


class SumTask(Task[SumData]):
    @reward(weight=2.0)
    async def exact(self, trace) -> float:
        return 1.0 if self.data.answer in (trace.last_reply or "") else 0.0


class Sums(Taskset[SumTask]):
    def load(self):
        for a in range(20):
            yield SumTask(SumData(prompt=f"What is {a} + 1000?", answer=str(a + 1000)), self.config.task)


class Endless(Sums):
    INFINITE = True

    def load(self):
        while True:
            yield from super().load()


def sums():
    return Sums(TasksetConfig(id="sums"))


def endless():
    return Endless(TasksetConfig(id="endless"))
"""


@pytest.mark.parametrize("name", ["sums", "endless"])
def test_a_taskset_of_verifiers_is_asked_and_scored(library, tmp_path, name):
    library("verifiers")
    (tmp_path / "tasks.py").write_text(TASKSET)
    task = get_task(f"{tmp_path / 'tasks.py'}:{name}")
    problems = list(task.load("train", 6, 1))
    assert len(problems) == 6
    number = problems[0].messages[-1]["content"].removeprefix("What is ").removesuffix(" + 1000?")
    right = f"<think>\neasy\n</think>\n<answer> {int(number) + 1000} </answer>"
    assert task.verify(problems[0], right).outcome is Outcome.CORRECT
    assert task.verify(problems[0], right.replace("10", "20")).outcome is Outcome.WRONG
