"""Programming problems from rows: HumanEval, MBPP, APPS and TACO, LiveCodeBench, and lists of tests.

Each becomes a question and tests that the code reward can run (``types.TestCase``). A row whose tests cannot
be read is refused by name when the data loads, never graded wrongly later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aha.data.sources import Row
from aha.rewards.code import CodeReward, check_tests
from aha.tasks import rows
from aha.tasks.base import Task
from aha.tasks.code import Grader, vote
from aha.tasks.rows import Reader
from aha.types import AhaError, Problem, TestCase

_QUESTIONS = ("question", "problem", "prompt", "text", "question_content", "description")
_SHOWN = 3  # asserts of an MBPP row that the question shows, as its authors do
_STDIO = "Read from standard input, write to standard output. Answer with one Python program."
_FUNCTION = "Answer with Python code that defines {name}."


def make_problem(row: Row, number: int, name: str = "code") -> Problem:
    """The problem in a row. Raises AhaError naming the row if it has no question or no usable tests."""
    question = next((row[k] for k in _QUESTIONS if isinstance(row.get(k), str) and row[k].strip()), None)
    if question is None:
        question = _last_user(row)
    if question is None:
        raise AhaError(f"Row {number} has no question: its columns are {sorted(row)}. Wanted: {_listed()}.")
    try:
        tests, shown = _tests(row)
    except (ValueError, TypeError, KeyError) as error:
        raise AhaError(f"Row {number}: its tests cannot be read: {error}. Correct or drop it.") from error
    text = f"{question.strip()}\n\n{shown}" if shown else question.strip()
    starter = row.get("starter_code")
    if isinstance(starter, str) and starter.strip():
        text += f"\n\nStart from:\n```python\n{starter.strip()}\n```"
    messages = ({"role": "user", "content": text},)
    problem = Problem(f"{name}-{number}", name, messages, tuple(tests), metadata={"content": question})
    check_tests(problem)
    return problem


def _listed() -> str:
    return ", ".join(_QUESTIONS) + " or a list of messages"


def _last_user(row: Row) -> str | None:
    for key in ("prompt", "messages"):
        value = row.get(key)
        if isinstance(value, Sequence) and not isinstance(value, str):
            users = [m.get("content") for m in value if isinstance(m, Mapping) and m.get("role") == "user"]
            if users and isinstance(users[-1], str):
                return users[-1]
    return None


def _tests(row: Row) -> tuple[list[TestCase], str]:
    """(tests, what the question must add to be answerable). ValueError if there are none."""
    if isinstance(row.get("test"), str) and row.get("entry_point"):
        return _humaneval(row)
    if row.get("test_list") is not None:
        return _mbpp(row)
    model = row.get("reward_model")
    given = [row.get(k) for k in ("input_output", "tests", "test_cases", "public_test_cases")]
    given.append(model.get("ground_truth") if isinstance(model, Mapping) else None)
    for value in given:
        if value is not None and value != "":
            return _pairs(json.loads(value) if isinstance(value, str) else value, row)
    raise ValueError(f"none of test + entry_point, test_list, input_output, tests among {sorted(row)}")


def _humaneval(row: Row) -> tuple[list[TestCase], str]:
    name = str(row["entry_point"])
    helpers = _helpers(row)
    return [TestCase("asserts", helpers + row["test"], None, name)], _FUNCTION.format(name=name)


def _helpers(row: Row) -> str:
    """Functions that the prompt defines before the one to complete, which the tests call too."""
    prompt, name = str(row.get("prompt", "")), str(row["entry_point"])
    before = prompt.rpartition(f"def {name}(")[0]
    return before if "def " in before else ""


def _mbpp(row: Row) -> tuple[list[TestCase], str]:
    asserts = [str(line) for line in row["test_list"]]
    if not asserts:
        raise ValueError("test_list is empty")
    setup = str(row.get("test_setup_code") or "")
    source = "\n".join(part for part in (setup, *asserts) if part)
    return [TestCase("asserts", source)], "Your code must pass:\n" + "\n".join(asserts[:_SHOWN])


def _pairs(value: Any, row: Row) -> tuple[list[TestCase], str]:
    """``{"inputs": [...], "outputs": [...], "fn_name"?}`` or a list of ``{"input", "output"}``."""
    name = row.get("fn_name") or row.get("entry_point") or ""
    if isinstance(value, Mapping):
        name = value.get("fn_name") or name
        inputs, outputs = list(value["inputs"]), list(value["outputs"])
        if len(inputs) != len(outputs):
            raise ValueError(f"{len(inputs)} inputs, but {len(outputs)} outputs")
    else:
        inputs = [test["input"] for test in value]
        outputs = [test["output"] for test in value]
        kinds = {test.get("testtype") for test in value}
        metadata = row.get("metadata")
        if "functional" in kinds:
            inputs = [[json.loads(line) for line in str(text).splitlines()] for text in inputs]
            outputs = [json.loads(text) for text in outputs]
            found = json.loads(metadata) if isinstance(metadata, str) else (metadata or {})
            name = name or found.get("func_name") or _method(row)
    if not inputs:
        raise ValueError("no tests")
    if name:
        return _calls(str(name), inputs, outputs, row), _FUNCTION.format(name=name)
    pairs = zip(inputs, outputs, strict=True)
    return [TestCase("stdio", _lines(given), _lines(wanted)) for given, wanted in pairs], _STDIO


def _lines(value: Any) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _calls(name: str, inputs: list[Any], outputs: list[Any], row: Row) -> list[TestCase]:
    starter = str(row.get("starter_code") or "")
    entry = f"Solution.{name}" if "class Solution" in starter and "." not in name else name
    tests = []
    for given, wanted in zip(inputs, outputs, strict=True):
        if not isinstance(given, list):
            raise ValueError(f"arguments of {name} must be a list, not {type(given).__name__}")
        # APPS wraps each expected result into a list of one.
        wrapped = isinstance(wanted, list) and len(wanted) == 1 and "input_output" in row
        tests.append(TestCase("function", given, wanted[0] if wrapped else wanted, entry))
    return tests


def _method(row: Row) -> str:
    """The last function that the starter code defines."""
    defined = str(row.get("starter_code") or "").split("def ")[1:]
    if not defined:
        raise ValueError("functional tests without the function's name")
    return defined[-1].split("(")[0].strip()


READER = Reader(make_problem)


def task(
    source: str | None, name: str = "code", test_source: str | None = None, reward: CodeReward | None = None
) -> Task:
    """Programming problems over the rows of ``source``: a file, or ``hub/name`` or ``hub/name:config``."""
    grader = Grader(reward)

    def load_split(split: str, n: int, seed: int) -> list[Problem]:
        return rows.load(READER, name, split, n, seed, source, test_source)

    return Task(name, load_split, grader.verify, grader.verify_lenient, vote)
