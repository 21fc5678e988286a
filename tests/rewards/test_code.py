"""The code reward: extraction, modes, and what cannot be graded."""

from __future__ import annotations

import numpy as np
import pytest

from aha.rewards.code import CodeReward, check_tests, extract_code
from aha.sandbox import Sandbox
from aha.types import AhaError, Finish, Problem, Rollout, TestCase

EMPTY = np.zeros(0, dtype=np.int64)
STDIO = (TestCase("stdio", "1\n", "2"), TestCase("stdio", "2\n", "4"), TestCase("stdio", "3\n", "7"))


def rollout(text: str, *, finish: Finish = Finish.STOP, opened: bool = False) -> Rollout:
    return Rollout(EMPTY, EMPTY, EMPTY.astype(np.float32), text, finish, opened_think=opened)


def program(code: str) -> Rollout:
    return rollout(f"<think>x</think>\nHere:\n```python\n{code}\n```\n")


def problem(*tests: TestCase) -> Problem:
    return Problem("p", "code", (), tests)


@pytest.fixture(scope="module")
def sandbox():
    try:
        with Sandbox() as opened:
            yield opened
    except AhaError as error:
        pytest.skip(str(error))


def test_fraction_and_all(sandbox):
    right = program("print(int(input()) * 2)")
    [score] = CodeReward(sandbox=sandbox, wall=30)(problem(*STDIO), [right])
    assert score.value == pytest.approx(2 / 3)
    assert "2 of 3" in score.note
    [score] = CodeReward("all", sandbox=sandbox, wall=30)(problem(*STDIO), [right])
    assert score.value == 0.0
    [score] = CodeReward("all", sandbox=sandbox, wall=30)(problem(*STDIO[:2]), [right])
    assert score.value == 1.0


def test_kinds_can_be_mixed(sandbox):
    code = "def f(a): return a + 1\nif __name__ == '__main__': print(f(int(input())))"
    tests = (
        TestCase("function", [1], 2, "f"),
        TestCase("asserts", "assert f(2) == 3"),
        TestCase(
            "asserts", "def check(candidate):\n    for i in range(3): assert candidate(i) == i + 1", None, "f"
        ),
        TestCase("stdio", "4", "5"),
    )
    [score] = CodeReward("all", sandbox=sandbox, wall=30)(problem(*tests), [program(code)])
    assert score.value == 1.0, score


def test_equal_programs_are_graded_once_and_order_is_kept(sandbox, monkeypatch):
    calls = []
    reward = CodeReward(sandbox=sandbox, wall=30)
    grade = reward._grade
    monkeypatch.setattr(reward, "_grade", lambda code, *rest: calls.append(code) or grade(code, *rest))
    good, bad, none = program("print(2)"), program("print(0)"), rollout("I do not know")
    scores = reward(problem(STDIO[0]), [good, none, bad, good])
    assert [score.value for score in scores] == [1.0, 0.0, 0.0, 1.0]
    assert len(calls) == 2


def test_a_broken_sandbox_is_not_a_zero(sandbox, monkeypatch):
    from aha.sandbox.process import Gone

    def lost(*_, **__):
        raise Gone("lost")

    monkeypatch.setattr("aha.sandbox.slot.Slot.launch", lost)
    for mode in ("fraction", "all"):
        [score] = CodeReward(mode, sandbox=sandbox)(problem(*STDIO), [program("print(2)")])
        assert score.value is None
        assert "could not grade" in score.note


def test_a_programs_own_failures_are_zero(sandbox):
    for code in ("while True: pass", "x = bytearray(1 << 40)", "1/0", "import os; os._exit(0)", "def"):
        [score] = CodeReward(sandbox=sandbox, wall=0.5)(problem(STDIO[0]), [program(code)])
        assert score.value == 0.0


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\na\n```", "a\n"),
        ("```py\na\n```\ntext\n```python\nb\n```", "b\n"),
        ("```python\na\n```\n```\noutput\n```", "a\n"),
        ("```\na\n```", "a\n"),
        ("```cpp\na\n```", None),
        ("```python\na", None),
        ("no code", None),
        ("<think>```python\na\n```</think>none", None),
        ("<think>```python\na\n```", None),
        ("<think>x</think>~~~python\na\n~~~", "a\n"),
        ("````python\ns = '''\n```\n'''\n````", "s = '''\n```\n'''\n"),
    ],
)
def test_extraction(text, code):
    assert extract_code(rollout(text)) == code


def test_extraction_knows_an_opened_think():
    assert extract_code(rollout("```python\na\n```", opened=True)) is None
    assert extract_code(rollout("x</think>```python\na\n```", opened=True)) == "a\n"


def test_extraction_is_linear():
    assert extract_code(rollout("`" * 1_000_000)) is None
    assert extract_code(rollout("```python\n" * 100_000)) is None


@pytest.mark.parametrize(
    "test",
    [
        TestCase("shell", "x", "y"),
        TestCase("stdio", 1, "y"),
        TestCase("function", [1], 2),
        TestCase("function", 1, 2, "f"),
        TestCase("asserts", "assert ("),
    ],
)
def test_wrong_tests_are_refused(test):
    with pytest.raises(AhaError, match="problem p, test 0"):
        check_tests(problem(test))


def test_a_problem_without_tests_is_refused():
    with pytest.raises(AhaError, match="needs tests"):
        check_tests(Problem("p", "code", (), "42"))
