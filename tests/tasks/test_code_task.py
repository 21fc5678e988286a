"""Functions by example: right references, disjoint contents, grading in the sandbox, rows of public sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aha.rewards.code import CodeReward, Mode, check_tests, find_program
from aha.sandbox import Sandbox
from aha.sandbox.process import Gone
from aha.tasks import code, code_rows, get_task
from aha.tasks import rows as row_reading
from aha.tasks.code_families import FAMILIES
from aha.types import AhaError, Outcome

REAL = Path(__file__).parents[3] / "shared" / "data" / "code"


@pytest.fixture(scope="module")
def sandbox():
    try:
        with Sandbox() as opened:
            opened.run("pass")
            yield opened
    except AhaError as error:
        pytest.skip(str(error))


def grader_in(sandbox, wall=30):
    """A grader with room for a busy machine."""
    return code.Grader(CodeReward(Mode.ALL, sandbox=sandbox, wall=wall))


def fenced(program):
    return f"<think>x</think>\n```python\n{program}\n```"


def test_solutions_pass_their_hidden_tests_and_a_constant_does_not(sandbox):
    task = code.task(reward=CodeReward(Mode.ALL, sandbox=sandbox, wall=30))
    seen = {}
    for p in task.load("train", 150, 0):
        seen.setdefault(p.metadata["family"], p)
    assert len(seen) >= 0.8 * len(FAMILIES)
    for name, p in seen.items():
        assert task.verify(p, fenced(p.metadata["solution"])).outcome is Outcome.CORRECT, name
        constant = f"def f(*a):\n    return {p.answer[0].expected!r}"
        assert task.verify(p, fenced(constant)).outcome is Outcome.WRONG, name


@pytest.mark.parametrize("difficulty", [code.TINY, code.FULL])
def test_examples_are_shown_and_more_is_hidden(difficulty):
    for p in code.load(difficulty, "test", 20, 0):
        check_tests(p)
        question = p.messages[0]["content"]
        shown, hidden = p.answer[: p.metadata["shown"]], p.answer[p.metadata["shown"] :]
        assert len(hidden) == difficulty.tests
        for test in shown:
            assert f"f({', '.join(map(repr, test.input))})={test.expected!r}" in question
        assert all(t.input not in [s.input for s in shown] for t in hidden)
        if difficulty.bound:
            numbers = "".join(
                c if c.isdigit() else " " for c in str([(t.input, t.expected) for t in p.answer])
            )
            assert all(int(n) <= difficulty.bound for n in numbers.split())


def test_splits_share_no_function():
    outcomes = {
        split: {
            (p.metadata["family"], tuple(p.metadata["parameters"].items()))
            for p in code.load(code.TINY, split, 200, 0)
        }
        for split in ("train", "validation", "test")
    }
    assert not outcomes["train"] & outcomes["test"]
    assert not outcomes["train"] & outcomes["validation"]
    assert not outcomes["validation"] & outcomes["test"]


def linear():
    family = next(f for f in FAMILIES if f.name == "linear")
    import random

    p = code.make_problem(family, {"a": 2, "b": 1}, code.TINY, random.Random(0))
    assert p is not None
    assert "2 times x, plus 1" in p.messages[0]["content"]
    return p


def test_a_programs_own_failures_are_wrong(sandbox):
    grader = grader_in(sandbox, wall=0.5)
    for program in (
        "def f(x):\n    while True: pass",
        "def f(x): return 2*x",
        "def g(x): return 2*x+1",
        "def",
    ):
        assert grader.verify(linear(), fenced(program)).outcome is Outcome.WRONG, program
    assert grader.verify(linear(), "I cannot").outcome is Outcome.NO_ANSWER
    assert (
        grader.verify(linear(), "<think>```python\ndef f(x): return 2*x+1\n```").outcome is Outcome.NO_ANSWER
    )


def test_a_broken_sandbox_is_unknown_and_not_remembered(sandbox, monkeypatch):
    def lost(*_, **__):
        raise Gone("lost")

    grader = grader_in(sandbox)
    right = fenced("def f(x): return 2*x+1")
    with monkeypatch.context() as patch:
        patch.setattr("aha.sandbox.slot.Slot.launch", lost)
        assert grader.verify(linear(), right).outcome is Outcome.UNKNOWN
    assert grader.verify(linear(), right).outcome is Outcome.CORRECT


def test_no_sandbox_at_all_is_unknown(monkeypatch):
    def none(*_, **__):
        raise AhaError("no isolation here")

    grader = code.Grader()
    monkeypatch.setattr(grader.reward, "grade", none)
    assert grader.verify(linear(), fenced("def f(x): return 2*x+1")).outcome is Outcome.UNKNOWN


def test_equal_programs_are_run_once(sandbox, monkeypatch):
    grader = grader_in(sandbox)
    calls = []
    grade = grader.reward.grade
    monkeypatch.setattr(grader.reward, "grade", lambda *a: calls.append(a) or grade(*a))
    for _ in range(3):
        grader.verify(linear(), fenced("def f(x): return 2*x+1"))
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("<think>a</think> <answer>def f(x): return 1</answer>", "def f(x): return 1\n"),
        ("<think>a</think> <answer>```python\nb\n```</answer>", "b\n"),
        ("<think>a</think> ```python\nb\n```\n<answer>\n```python\nc\n```\n</answer>", "c\n"),
        ("<think>a</think>\n```python\nb\n```\n<answer>see above</answer>", "b\n"),
        ("<think>a</think> <answer>```python\nb</answer>", None),
        ("<think>a</think> nothing", None),
        ("<think><answer>def f(x): return 1</answer>", None),
    ],
)
def test_where_a_program_may_stand(text, program):
    assert find_program(text) == program


def test_lenient_grading_takes_a_program_without_a_fence(sandbox):
    grader = grader_in(sandbox)
    text = "I think:\ndef f(x):\n    return 2*x+1\nThat is all."
    assert grader.verify(linear(), text).outcome is Outcome.NO_ANSWER
    assert grader.verify_lenient(linear(), text).outcome is Outcome.CORRECT


def test_votes_ignore_spaces_and_comments():
    ballots = [
        code.vote(linear(), fenced(p)) for p in ("def f(x): return 2*x+1", "def f(x):  return 2 * x + 1 # so")
    ]
    assert ballots[0] == ballots[1]


MBPP = {
    "task_id": 2,
    "text": "Write a function to add two numbers.",
    "test_list": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"],
    "test_setup_code": "",
}
APPS = {
    "question": "Double it.",
    "input_output": json.dumps({"inputs": ["1\n", "2\n"], "outputs": ["2\n", "4\n"]}),
}
APPS_CALL = {
    "question": "Double it.",
    "input_output": json.dumps({"fn_name": "twice", "inputs": [[1], [2]], "outputs": [[2], [4]]}),
    "starter_code": "class Solution:\n    def twice(self, x):\n",
}
LCB = {
    "question_content": "Double it.",
    "public_test_cases": json.dumps([{"input": "3", "output": "6", "testtype": "functional"}]),
    "metadata": json.dumps({"func_name": "twice"}),
    "starter_code": "class Solution:\n    def twice(self, x: int) -> int:\n",
}
LISTED = {"problem": "Double it.", "tests": [{"input": "1", "output": "2"}, {"input": "2", "output": "4"}]}
VERL = {
    "prompt": [{"role": "user", "content": "Double it."}],
    "reward_model": {"ground_truth": json.dumps({"inputs": ["1"], "outputs": ["2"]})},
}
STDIO, CLASS = "print(int(input()) * 2)", "class Solution:\n    def twice(self, x): return 2 * x"


@pytest.mark.parametrize(
    ("row", "right"),
    [
        (MBPP, "def add(a, b): return a + b"),
        (APPS, STDIO),
        (APPS_CALL, CLASS),
        (LCB, CLASS),
        (LISTED, STDIO),
        (VERL, STDIO),
    ],
    ids=["mbpp", "apps", "apps-call", "livecodebench", "listed", "verl"],
)
def test_rows_of_public_schemas(row, right, sandbox):
    p, grader = code_rows.make_problem(row, 1), grader_in(sandbox)
    assert grader.verify(p, fenced(right)).outcome is Outcome.CORRECT
    assert grader.verify(p, fenced(right.replace("2", "5").replace("+", "-"))).outcome is Outcome.WRONG


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "q"}, "Row 7: its tests cannot be read: none of"),
        ({"question": "q", "input_output": "{"}, "Row 7: its tests cannot be read"),
        ({"question": "q", "tests": {"inputs": ["1"], "outputs": []}}, "1 inputs, but 0 outputs"),
        ({"tests": []}, "Row 7 has no question"),
        ({"text": "q", "test_list": []}, "test_list is empty"),
    ],
)
def test_bad_rows_are_named(row, message):
    with pytest.raises(AhaError, match=message.replace("(", r"\(")):
        code_rows.make_problem(row, 7)


def test_the_task_by_name_makes_problems_or_reads_them(tmp_path):
    assert get_task("code").load("train", 3, 0)[0].task == "code"
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({**MBPP, "text": f"Add {i}."}) + "\n" for i in range(100)), encoding="utf-8"
    )
    task = get_task("code", str(path))
    sizes = [len(task.load(split, 1000, 0)) for split in ("train", "validation", "test")]
    assert sum(sizes) == 100
    assert min(sizes) > 0


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data sets are not beside this checkout")
def test_humaneval_reads_whole_and_its_solutions_pass(sandbox):
    source = str(REAL / "humaneval.jsonl")
    problems = row_reading.read(source, code_rows.READER, "code").problems
    assert len(problems) == 164
    rows = [
        json.loads(line)
        for line in (REAL / "humaneval.jsonl").read_text(encoding="utf-8").split("\n")
        if line
    ]
    grader = grader_in(sandbox, wall=20)
    for i in (0, 10, 32, 38, 50):  # three of them call helpers that their prompt defines
        right = fenced(rows[i]["prompt"] + rows[i]["canonical_solution"])
        assert grader.verify(problems[i], right).outcome is Outcome.CORRECT, rows[i]["task_id"]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data sets are not beside this checkout")
def test_code_contests_read_whole():
    problems = row_reading.read(
        str(REAL / "rllm_code_contests_test.jsonl.gz"), code_rows.READER, "code"
    ).problems
    assert len(problems) == 165
    assert all(test.kind == "stdio" for p in problems for test in p.answer)
