"""A program and its tests, one by one, with what the program did where one fails."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from aha.rewards.code import CodeReward, find_program
from aha.runs.charts import clean
from aha.sandbox import default_sandbox
from aha.types import Score, TestCase

MOST_TESTS, MOST_OUTPUTS = 24, 4
"""Tests that are run again, and failing ones whose output is shown."""
LONGEST = 1_500
_WALL = 4.0


def program_tests(text: str, tests: Sequence[TestCase]) -> tuple[str | None, list[dict[str, Any]]]:
    """(the program in an answer, its tests with what became of each). Run in the sandbox, as the reward does."""
    program = find_program(text)
    if program is None:
        return None, []
    reward, outcomes, failed = CodeReward(), [], 0
    for number, test in enumerate(tests[:MOST_TESTS], 1):
        score = reward.grade(program, [test])
        passed = None if score.value is None else score.value == 1
        failed += passed is False
        output = printed(program, test) if passed is False and failed <= MOST_OUTPUTS else ""
        outcomes.append(
            {"number": number, "kind": test.kind, "input": _short(test.input), "expected": _short(test.expected),
             "passed": passed, "note": _note(score), "output": output}
        )  # fmt: skip
    return program, outcomes


def _note(score: Score) -> str:
    """What a test said, without the count of the one test."""
    return score.note.partition("; ")[2] or ("" if score.value == 1 else score.note)


def printed(program: str, test: TestCase) -> str:
    """What the program prints, returns or raises on a test."""
    code, stdin = program, b""
    if test.kind == "stdio":
        stdin = test.input if isinstance(test.input, bytes) else str(test.input).encode("utf-8", "replace")
    elif test.kind == "asserts":
        code = f"{program}\n{test.input}"
    elif test.entry_point.isidentifier():
        code = f"{program}\nprint(repr({test.entry_point}(*{list(test.input)!r})))"
    else:
        return ""
    ran = default_sandbox().run(code, stdin, wall=_WALL, prelude=test.prelude, max_output=100_000)
    said = [
        ran.stdout.decode("utf-8", "replace")[:LONGEST],
        ran.stderr.decode("utf-8", "replace")[-LONGEST:],
        ran.note,
    ]
    return clean("\n".join(part.strip() for part in said if part.strip()), 3 * LONGEST)


def _short(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return clean(
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr), LONGEST
    )
