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
        ("<think>x</think>\n```python\ns = '</think>'\n```", "s = '</think>'\n"),
        (
            "<think>x</think>\n```python\ns = '<think></think><answer></answer>'\n```\nDone.",
            "s = '<think></think><answer></answer>'\n",
        ),
        ("<think>so: ```python\ns = '</think>'\n```\nno</think>```python\na\n```", "a\n"),
        ("<think>x</think><answer>s = '</think>'\nprint(s)</answer>", "s = '</think>'\nprint(s)\n"),
        ("<think>x</think><answer>\n```python\ns = '</answer>'\n```\n</answer>", "s = '</answer>'\n"),
        ("```python\ns = 'a\u2028b\x0bc\x0cd\x85e\x1cf'\n```", "s = 'a\u2028b\x0bc\x0cd\x85e\x1cf'\n"),
        ("```python\r\na\r\nb\r\n```\r\n", "a\nb\n"),
    ],
)
def test_extraction(text, code):
    assert extract_code(rollout(text)) == code


def test_strange_line_ends_in_strings_run(sandbox):
    code = "print(len('a\u2028b\x0bc\x0cd\x85e'), '</think>')"
    text = f"<think>x</think>\n```python\n{code}\n```"
    program = extract_code(rollout(text))
    assert program is not None
    assert sandbox.run(program, wall=30).stdout == b"9 </think>\n"


def test_an_error_name_in_a_note_is_plain(sandbox):
    lie = (
        "import os, struct, sys\ndef f():\n    space = sys._getframe(1)\n"
        "    while 'self' not in space.f_locals: space = space.f_back\n    answering = space.f_locals['self']\n"
        "    answering._send('error\\n' + chr(27) + ']0;title' + chr(7) + chr(27) + '[2J')\n    while True: pass"
    )
    [score] = CodeReward(sandbox=sandbox, wall=2)(problem(TestCase("function", [], 1, "f")), [program(lie)])
    assert score.value == 0.0
    assert "raised" in score.note
    assert score.note.isprintable()


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
        TestCase("function", [object()], 2, "f"),
        TestCase("function", [1], object(), "f"),
        TestCase("function", [1], "no reply", "f", compare="near"),
        TestCase("asserts", "assert ("),
    ],
)
def test_wrong_tests_are_refused(test):
    with pytest.raises(AhaError, match="problem p, test 0"):
        check_tests(problem(test))


def test_a_problem_without_tests_is_refused():
    with pytest.raises(AhaError, match="needs tests"):
        check_tests(Problem("p", "code", (), "42"))
