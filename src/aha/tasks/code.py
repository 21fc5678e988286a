"""Small Python functions asked for in one sentence and by examples, graded by hidden tests in the sandbox.

Problems are made by a program (``code_families``), or read from rows (``code_rows``). An answer is the last
Python block after the thinking, or the bare content of the answer tags. Its tests run in the sandbox: what
the program does there, running too long included, is its own failure; a failure of the sandbox is not, and
leaves the answer ungraded.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aha import chat
from aha.rewards.code import CodeReward, Mode, check_tests, find_program
from aha.tasks.base import Task
from aha.tasks.code_families import BY_NAME, FAMILIES, Family, draw_tests
from aha.tasks.splits import check_split, collect, short_hash, split_of
from aha.types import AhaError, Outcome, Problem, TestCase, Verdict

REMEMBERED = 4096
"""Verdicts kept: equal programs of one problem are run once."""


@dataclass(frozen=True, slots=True)
class CodeDifficulty:
    """Which families, how large the numbers, how many examples are shown and how many tests are hidden."""

    families: tuple[str, ...] = tuple(f.name for f in FAMILIES)
    high: int = 20  # inputs are at most this
    bound: int | None = 255  # no number in an example or test is larger
    examples: int = 3
    tests: int = 8
    sentence: bool = True  # say in words what is wanted; else by examples alone
    chinese: float = 0.2


TINY = CodeDifficulty()
"""For a model whose whole-number tokens end at 255."""
FULL = CodeDifficulty(high=1000, bound=None, tests=15)
"""For real models."""


def question(
    family: Family,
    parameters: dict[str, int],
    shown: list[tuple[list[Any], Any]],
    sentence: bool,
    language: str,
) -> str:
    """The request in words, with its examples."""
    examples = ", ".join(f"f({', '.join(map(repr, arguments))})={result!r}" for arguments, result in shown)
    if language == "zh":
        described = f"返回{family.chinese.format(**parameters)}" if sentence else "满足例子"
        return f"写一个Python函数f({family.arguments})，{described}。例子：{examples}。"
    described = (
        f"that returns {family.english.format(**parameters)}" if sentence else "that fits the examples"
    )
    return f"Write a Python function f({family.arguments}) {described}. Examples: {examples}."


def content_key(family: Family, parameters: dict[str, int]) -> str:
    """Equal for requests of the same function."""
    return f"code:{family.name}:{sorted(parameters.items())}"


def make_problem(
    family: Family,
    parameters: dict[str, int],
    difficulty: CodeDifficulty,
    rng: random.Random,
    language: str = "en",
) -> Problem | None:
    """A Problem whose answer is its hidden tests (the examples among them); None if the numbers would be
    too large. Metadata: family, parameters and a right solution."""
    n = difficulty.examples + difficulty.tests
    tests = draw_tests(family, parameters, rng, n, difficulty.high, difficulty.bound)
    if tests is None:
        return None
    text = question(family, parameters, tests[: difficulty.examples], difficulty.sentence, language)
    return Problem(
        id=f"code-{family.name}-{short_hash(text)}",
        task="code",
        messages=({"role": "user", "content": text},),
        answer=tuple(TestCase("function", arguments, result, "f") for arguments, result in tests),
        language=language,
        metadata={
            "family": family.name,
            "parameters": parameters,
            "shown": difficulty.examples,
            "solution": family.program(parameters),
        },
    )


def generate(difficulty: CodeDifficulty, split: str, rng: random.Random) -> Iterator[Problem]:
    """Problems of a split without end."""
    while True:
        family = BY_NAME[rng.choice(difficulty.families)]
        parameters = family.parameters(rng)
        if split_of(content_key(family, parameters)) != split:
            continue
        language = "zh" if rng.random() < difficulty.chinese else "en"
        problem = make_problem(family, parameters, difficulty, rng, language)
        if problem is not None:
            yield problem


def load(difficulty: CodeDifficulty, split: str, n: int, seed: int) -> list[Problem]:
    """At most ``n`` different problems of a split, the same for one seed; fewer where there are no more."""
    check_split("code", split)
    rng = random.Random(f"code:{split}:{seed}")
    return collect("code", generate(difficulty, split, rng), split, n)


# --- grading -------------------------------------------------------------------------------------------


class Grader:
    """Runs programs against a problem's tests; remembers verdicts, but never one that said nothing.

    ``reward`` says in which sandbox and within which limits; it must ask for all tests.
    """

    def __init__(self, reward: CodeReward | None = None):
        self.reward = reward or CodeReward(Mode.ALL)
        self._known: OrderedDict[tuple[str, str, int, str], Verdict] = OrderedDict()

    def grade(self, problem: Problem, program: str) -> Verdict:
        """CORRECT if all tests pass, UNKNOWN if the sandbox failed, else WRONG with the first failure."""
        tests = check_tests(problem)
        key = (problem.id, str(problem.messages[-1].get("content")), len(tests), program)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        try:
            score = self.reward.grade(program, tests)
        except AhaError as error:  # no sandbox can be had here: that says nothing about the program
            return Verdict(Outcome.UNKNOWN, str(error))
        if score.value is None:
            return Verdict(Outcome.UNKNOWN, score.note)
        verdict = Verdict(Outcome.CORRECT if score.value == 1 else Outcome.WRONG, score.note)
        self._known[key] = verdict
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return verdict

    def verify(self, problem: Problem, text: str) -> Verdict:
        """Grade the program that stands where the format wants it."""
        program = find_program(text)
        if program is None:
            return Verdict(Outcome.NO_ANSWER, "no Python block after the thinking and no program in <answer>")
        return self.grade(problem, program)

    def verify_lenient(self, problem: Problem, text: str) -> Verdict:
        """Grade a program wherever it stands: also in the thinking, also without a fence."""
        program = find_program(text) or find_program(_without_tags(text, (chat.THINK, chat.END_THINK), ""))
        if program is None:
            program = _from_definition(text)
        if program is None:
            return Verdict(Outcome.NO_ANSWER, "no program")
        return self.grade(problem, program)


def _without_tags(text: str, names: Sequence[str], instead: str) -> str:
    """The text without these tags, but for those that stand in code."""
    parts, at = [], 0
    for tag in chat.find_tags(text):
        if tag.name in names and not tag.quoted:
            parts += [text[at : tag.start], instead]
            at = tag.end
    return "".join([*parts, text[at:]])


def _from_definition(text: str) -> str | None:
    """From the last line that begins a definition to the end of what is indented below it."""
    lines = _without_tags(text, chat.TAGS, "\n").split("\n")
    starts = [i for i, line in enumerate(lines) if line.startswith("def ")]
    if not starts:
        return None
    end = starts[-1] + 1
    while end < len(lines) and (not lines[end].strip() or lines[end][0].isspace()):
        end += 1
    return "\n".join(lines[starts[-1] : end]) + "\n"


def vote(problem: Problem, text: str) -> str | None:
    """Programs alike up to spaces and comments at line ends vote together. Programs that do the same in
    other words do not: telling that would take a run of each."""
    program = find_program(text)
    if program is None:
        return None
    lines = ("".join(line.split("#")[0].split()) for line in program.split("\n"))
    return "\n".join(line for line in lines if line)


def task(difficulty: CodeDifficulty = TINY, name: str = "code", reward: CodeReward | None = None) -> Task:
    """Functions to write at a difficulty. The sandbox opens with the first answer that is graded."""
    grader = Grader(reward)

    def load_split(split: str, n: int, seed: int) -> list[Problem]:
        return load(difficulty, split, n, seed)

    return Task(
        name, load_split, grader.verify, grader.verify_lenient, vote, lambda p: str(p.metadata["family"])
    )
