"""The code reward: the last Python block of an answer, graded by the problem's tests in the sandbox.

A test that the sandbox could not run makes the score "could not grade" (``None``), never 0; whatever the
program itself does (time, memory, a crash) is its own failure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from enum import StrEnum
from typing import Any

from aha.chat import ANSWER, END_ANSWER, END_THINK, find_tags, parse
from aha.sandbox import (
    Judgement,
    ResultComparison,
    Sandbox,
    TestResult,
    check_call,
    check_source,
    default_sandbox,
    imported_modules,
    judge_asserts,
    judge_function,
    judge_stdio,
    results_of,
    sandbox_modules,
)
from aha.types import AhaError, Finish, Problem, Rollout, Score, TestCase

KINDS = ("stdio", "function", "asserts")
_PYTHON = ("python", "python3", "py", "py3")
_FENCE = re.compile(r"[ ]{0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)")


class Mode(StrEnum):
    """What a score is: the fraction of tests that pass, or 1 for all of them and 0 otherwise."""

    FRACTION = "fraction"
    ALL = "all"


class CodeReward:
    """Grades rollouts by a problem's tests; equal programs of a group are graded once.

    ``wall`` (seconds) and ``memory_mb`` hold for each test. Without a ``sandbox`` the process's own is used.
    """

    def __init__(
        self,
        mode: Mode | str = Mode.FRACTION,
        *,
        sandbox: Sandbox | None = None,
        wall: float = 4,
        memory_mb: int = 1024,
    ) -> None:
        self.mode = Mode(mode)
        self.wall = wall
        self.memory_mb = memory_mb
        self._sandbox = sandbox

    def __call__(self, problem: Problem, rollouts: Sequence[Rollout]) -> list[Score]:
        """One score for each rollout. Raises AhaError if the problem has no tests or wrong ones."""
        tests = check_tests(problem)
        programs = [extract_code(rollout) for rollout in rollouts]
        distinct = list(dict.fromkeys(program for program in programs if program is not None))
        sandbox = self._sandbox or default_sandbox()
        with ThreadPoolExecutor(max_workers=sandbox.workers) as threads:
            scores = threads.map(lambda program: self._grade(program, tests, sandbox), distinct)
            graded = dict(zip(distinct, scores, strict=True))
        nothing = Score(0.0, "no Python block in the answer")
        return [nothing if program is None else graded[program] for program in programs]

    def grade(self, code: str, tests: Sequence[TestCase]) -> Score:
        """The score of one program."""
        return self._grade(code, tests, self._sandbox or default_sandbox())

    def _grade(self, code: str, tests: Sequence[TestCase], sandbox: Sandbox) -> Score:
        results: list[TestResult] = []
        for part in _runs(tests):
            results += self._judge(code, part, sandbox).results
            if self.mode is Mode.ALL and any(result.passed is False for result in results):
                break
        judgement = Judgement(tuple(results))
        passed = sum(result.passed is True for result in results)
        note = f"{passed} of {len(tests)} tests passed" + _first_problem(results)
        if self.mode is Mode.ALL:
            value = None if judgement.passed is None else float(judgement.passed)
        else:
            value = judgement.fraction
        return Score(value, note if value is not None else f"could not grade: {note}")

    def _judge(self, code: str, tests: Sequence[TestCase], sandbox: Sandbox) -> Judgement:
        """Judge tests that differ in their input and what is expected alone."""
        first = tests[0]
        limits: dict[str, Any] = {"sandbox": sandbox, "wall": self.wall, "memory_mb": self.memory_mb}
        limits["prelude"] = first.prelude
        if first.kind == "asserts":
            return judge_asserts(code, [test.input for test in tests], first.entry_point, **limits)
        limits["stop_early"] = self.mode is Mode.ALL
        pairs = [(test.input, test.expected) for test in tests]
        if first.kind == "stdio":
            return judge_stdio(code, pairs, tolerance=first.tolerance, **limits)
        limits |= {"compare": first.compare, "tolerance": first.tolerance}
        return judge_function(code, first.entry_point, pairs, **limits)


def reference_results(
    program: str, entry_point: str, inputs: Sequence[Sequence[Any]], prelude: str, wall: float
) -> list[str]:
    """What a set's own solution gives for each list of arguments, as tests whose ``compare`` is ``near`` or one of its
    kin expect it. Raises AhaError where it fails, and where no sandbox can be had."""
    return results_of(program, entry_point, inputs, wall=wall, prelude=prelude)


def check_tests(problem: Problem) -> tuple[TestCase, ...]:
    """The tests of a problem, checked. Raises AhaError if there are none or one cannot be judged.

    Call it when data loads."""
    tests = problem.answer
    if not isinstance(tests, tuple) or not tests:
        raise AhaError(
            f"problem {problem.id}: the code reward needs tests as the answer, not {type(tests).__name__}"
        )
    for index, test in enumerate(tests):
        if problem_with := _wrong(test):
            raise AhaError(
                f"problem {problem.id}, test {index}: {problem_with}. Correct or drop it in the data."
            )
    return tests


def missing_modules(tests: Sequence[TestCase]) -> list[str]:
    """The modules that tests import, and programs in the sandbox cannot. Raises SyntaxError for other than Python."""
    sources = {test.prelude + "\n" + (test.input if test.kind == "asserts" else "") for test in tests}
    return sorted(_missing(sources) - {"pytest"})  # of which the sandbox has the usual parts


def missing_imports(program: str) -> list[str]:
    """The modules that a program imports and the sandbox does not have. Raises SyntaxError for other than Python."""
    return sorted(_missing([program]))


def not_importable(modules: Sequence[str]) -> str:
    """What there is to say of modules that the sandbox does not have."""
    names = ", ".join(modules)
    return f"import {names}, which programs in the sandbox cannot: name the package in AHA_SANDBOX_PACKAGES"


def _missing(sources: Iterable[str]) -> set[str]:
    imports = {name for source in sources for name in imported_modules(source)}
    return imports - sandbox_modules()


def extract_code(rollout: Rollout) -> str | None:
    """The program in a completion (see ``find_program``); None if there is none.

    A completion that was cut or never closes its thinking has no answer.
    """
    if rollout.finish is Finish.ERROR:
        return None
    return find_program("<think>" + rollout.text if rollout.opened_think else rollout.text)


def find_program(text: str) -> str | None:
    """The last closed fenced Python block after the thinking, one in the answer tags before all others; else
    the bare content of the answer tags. None if there is none, and in a thinking that never closes.

    A block without a language counts if no block says Python.
    """
    parsed = parse(text)
    if parsed.think is not None and not parsed.body:
        return None
    for part in (parsed.answer, parsed.body):
        blocks = _blocks(part or "")
        named = [code for language, code in blocks if language in _PYTHON]
        candidates = named or [code for language, code in blocks if not language]
        if candidates:
            return candidates[-1]
        if blocks:
            return None
    bare = _bare_answer(text) or parsed.answer
    return bare + "\n" if bare and "```" not in bare else None


def _bare_answer(text: str) -> str | None:
    """The content of the answer tags where these are all that follows the thinking: a program without a fence,
    which may hold the words of the tags in its strings."""
    close = next((tag for tag in find_tags(text) if tag.name == END_THINK), None)
    rest = text[close.end :].strip() if close else ""
    if rest.startswith(ANSWER) and rest.endswith(END_ANSWER):
        return rest[len(ANSWER) : -len(END_ANSWER)].strip()
    return None


def _blocks(text: str) -> list[tuple[str, str]]:
    """The (language, content) of every closed fenced block, in one pass over the lines."""
    blocks: list[tuple[str, str]] = []
    fence, language, lines = "", "", []
    for line in text.split("\n"):  # a string literal may hold every other kind of line end
        line = line.removesuffix("\r")
        opening = _FENCE.match(line)
        if not fence:
            if opening:
                fence, language, lines = opening[1], opening[2].lower().strip("{}."), []
        elif (
            opening and opening[1].startswith(fence) and not opening[2] and not line[opening.end() :].strip()
        ):
            blocks.append((language, "\n".join(lines) + "\n"))
            fence = ""
        else:
            lines.append(line)
    return blocks


def _runs(tests: Sequence[TestCase]) -> list[list[TestCase]]:
    """Neighbouring tests of the same kind, entry point and comparison together."""
    runs: list[list[TestCase]] = []
    for test in tests:
        if runs and replace(runs[-1][0], input=test.input, expected=test.expected) == test:
            runs[-1].append(test)
        else:
            runs.append([test])
    return runs


def _first_problem(results: Sequence[TestResult]) -> str:
    return next((f"; {result.note}" for result in results if result.passed is not True and result.note), "")


def _wrong(test: TestCase) -> str:
    if test.kind not in KINDS:
        return f"kind {test.kind!r} is none of {', '.join(KINDS)}"
    if test.kind == "stdio" and not (
        isinstance(test.input, (str, bytes)) and isinstance(test.expected, (str, bytes))
    ):
        return "stdin and expected stdout must be text"
    if test.kind == "function" and test.compare not in set(ResultComparison):
        return f"compare {test.compare!r} is none of {', '.join(ResultComparison)}"
    if test.kind == "function" and not (test.entry_point and isinstance(test.input, (list, tuple))):
        return "a function test needs an entry point and a list of arguments"
    try:
        if test.kind == "asserts":
            if not isinstance(test.input, str):
                return "asserts must be source text"
            check_source(test.input, test.prelude)
        elif test.kind == "function":
            check_call(test.entry_point, test.input, test.expected, test.compare, test.tolerance)
    except AhaError as error:
        return str(error)
    return ""
