"""Judges: right programs pass, wrong ones do not, a broken sandbox is neither."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aha.sandbox import Sandbox, judge_asserts, judge_function, judge_stdio
from aha.sandbox.asserts import rewrite
from aha.sandbox.process import Gone
from aha.types import AhaError

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
HUMANEVAL = SHARED / "data" / "code" / "humaneval.jsonl"


@pytest.fixture(scope="module")
def sandbox():
    try:
        with Sandbox() as opened:
            yield opened
    except AhaError as error:
        pytest.skip(str(error))


def test_stdio(sandbox):
    judged = judge_stdio("print(int(input()) * 2)", [("1", "2"), ("2", "4"), ("3", "7")], sandbox=sandbox)
    assert [result.passed for result in judged.results] == [True, True, False]
    assert judged.passed is False
    assert judged.fraction == pytest.approx(2 / 3)


def test_a_right_output_of_a_program_that_fails_is_not_enough(sandbox):
    assert judge_stdio("print(42)\n1/0", [("", "42")], sandbox=sandbox).passed is False


def test_function_by_strict_type(sandbox):
    tests = [((6, 7), 42), ((6, 7.0), 42.0), ((1, True), 1), ((1, 1), True)]
    judged = judge_function("def f(a, b): return a * b", "f", tests, sandbox=sandbox)
    assert [result.passed for result in judged.results] == [True, True, True, False]


def test_function_that_dies_costs_only_its_call(sandbox):
    code = "import os\ndef f(a):\n    if a == 1: os._exit(0)\n    if a == 2: raise ValueError\n    return a"
    judged = judge_function(code, "f", [((0,), 0), ((1,), 1), ((2,), 2), ((3,), 3)], sandbox=sandbox)
    assert [result.passed for result in judged.results] == [True, False, False, True]


def test_method_of_a_class(sandbox):
    code = "class Solution:\n    def twice(self, xs): return [2 * x for x in xs]"
    assert judge_function(code, "Solution.twice", [(([1, 2],), [2, 4])], sandbox=sandbox).passed is True


def test_prints_do_not_disturb_results(sandbox):
    assert judge_function(
        "print('x' * 9999)\ndef f():\n    print('{}')\n    return 1", "f", [((), 1)], sandbox=sandbox
    ).passed


def test_an_argument_that_cannot_travel_is_the_datas_fault(sandbox):
    with pytest.raises(AhaError, match="argument"):
        judge_function("def f(x): return x", "f", [((object(),), 1)], sandbox=sandbox)


def test_a_lost_sandbox_is_no_verdict(sandbox, monkeypatch):
    def lost(*_, **__):
        raise Gone("lost")

    monkeypatch.setattr("aha.sandbox.slot.Slot.launch", lost)
    assert judge_stdio("print(1)", [("", "1")], sandbox=sandbox).passed is None
    assert judge_function("def f(): return 1", "f", [((), 1)], sandbox=sandbox).passed is None
    assert judge_asserts("def f(): return 1", "for i in [1]: assert f() == i", sandbox=sandbox).passed is None


@pytest.mark.parametrize(
    "tests",
    [
        "assert f(2, 3) == 5",
        "assert f(a=2, b=3) == 5 and True",
        "assert 5 == f(2, 3)\nassert not f(0, 0)\nassert f(1, 0)",
        "import math\nassert math.isclose(f(0.1, 0.2), 0.3)",
        "for i in range(3):\n    assert f(i, i) == 2 * i",
        "try:\n    f('a', 1)\nexcept TypeError:\n    assert f(1, 2) == 3",
    ],
)
def test_asserts_right_and_wrong(sandbox, tests):
    assert judge_asserts("def f(a, b): return a + b", tests, sandbox=sandbox).passed is True
    assert judge_asserts("def f(a, b): return a - b - 1", tests, sandbox=sandbox).passed is False


@pytest.mark.parametrize(
    "code",
    [
        "class X:\n    def __eq__(s, o): return True\ndef f(a): return X()",
        "def f(a): raise SystemExit",
        "def f(a): raise StopIteration",
        "import os\ndef f(a): os._exit(0)",
        "import os\nos._exit(0)",
        "def f(a): raise AssertionError",
        "import sys, builtins\nbuiltins.AssertionError = ValueError\ndef f(a): return 0",
        "def f(a):\n    yield 42",
        "",
    ],
)
@pytest.mark.parametrize("tests", ["assert f(1) == 42", "assert all(map(lambda x: f(x) == 42, [1, 2]))"])
def test_asserts_cannot_be_cheated(sandbox, code, tests):
    assert judge_asserts(code, tests, sandbox=sandbox).passed is False


def test_objects_can_be_handed_back(sandbox):
    code = "class P:\n    def __init__(s, x): s.x = x\ndef f(ps): return sum(p.x for p in ps)"
    assert judge_asserts(code, "assert f([P(1), P(2)]) == 3", sandbox=sandbox).passed is True


def test_tests_that_fail_by_themselves_are_no_verdict(sandbox):
    assert (
        judge_asserts(
            "def f(): return 1", "import nonexistent\nassert f() == nonexistent.x", sandbox=sandbox
        ).passed
        is None
    )
    with pytest.raises(AhaError, match="parse"):
        judge_asserts("def f(): return 1", "assert f( ==", sandbox=sandbox)


def test_rewriting():
    calls = rewrite("def check(candidate):\n    assert candidate([1], x=-2) == (3,), 'no'\ncheck(g)", "g")
    assert calls is not None
    assert [(call.name, call.arguments, call.named) for call in calls] == [("g", [[1]], {"x": -2})]
    assert calls[0].accepts(b'{"tuple":[3]}')
    assert not calls[0].accepts(b"[3]")
    for more in (
        "x = f(1)\nassert x == 2",
        "assert f(1) < 2",
        "assert len(f(1)) == 2",
        "def f(x): return 1\nassert f(1) == 1",
    ):
        assert rewrite(more) is None


@pytest.mark.skipif(not HUMANEVAL.exists(), reason=f"no {HUMANEVAL}")
def test_humaneval_references_pass_and_mutants_fail(sandbox):
    rows = [json.loads(line) for line in HUMANEVAL.read_text().splitlines()]
    passed, mutants = [], []
    for row in rows:
        tests = row["prompt"] + row["test"]
        right = row["prompt"] + row["canonical_solution"]
        name = row["entry_point"]
        mutant = f"{right}\n_right = {name}\ndef {name}(*a, **k):\n    _right(*a, **k)\n    return 'x'\n"
        passed.append(judge_asserts(right, tests, row["entry_point"], sandbox=sandbox, wall=60).passed)
        mutants.append(judge_asserts(mutant, tests, row["entry_point"], sandbox=sandbox, wall=60).passed)
    assert passed == [True] * 164
    assert mutants == [False] * 164


def test_functions_that_are_awaited(sandbox):
    """Coroutine functions and asynchronous generators, as a caller has them who awaits."""
    tests = [((2,), [0, 1]), ((0,), [])]
    right = (
        "async def f(n): return list(range(n))",
        "import asyncio\nasync def f(n):\n    await asyncio.sleep(0)\n    return list(range(n))",
        "async def f(n):\n    for i in range(n): yield i",
        "import asyncio\ndef f(n): return asyncio.sleep(0, list(range(n)))",
    )
    for program in right:
        assert judge_function(program, "f", tests, sandbox=sandbox, wall=20).passed is True, program
        wrong = program.replace("range(n)", "range(n + 1)")
        assert judge_function(wrong, "f", tests, sandbox=sandbox, wall=20).passed is False, program
    class_ = "class S:\n    async def f(self, n): return list(range(n))"
    assert judge_function(class_, "S.f", tests, sandbox=sandbox, wall=20).passed is True
    forever = "import asyncio\nasync def f(n): await asyncio.Event().wait()"
    assert judge_function(forever, "f", tests[:1], sandbox=sandbox, wall=1).passed is False
