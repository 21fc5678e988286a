"""Countdown from rows: numbers and a target (Countdown-Tasks-3to4, and verl's form of it)."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from aha.data.layouts import find
from aha.data.sources import Row
from aha.tasks import countdown, rows
from aha.tasks.base import Task
from aha.tasks.rows import RowReader
from aha.types import AhaError, Problem

PROVEN = 20_000
"""Rows of a file that are proven to have a solution, by finding one; the others are looked at for their form."""
MOST = 6  # numbers that a solution is looked for with


def make_problem(row: Row, number: int, name: str = "countdown") -> Problem:
    """The problem in a row. Raises AhaError naming the row if it has no numbers or no target."""
    truth = find(row, "reward_model.ground_truth")
    source = truth if isinstance(truth, Mapping) else row
    numbers, target = source.get("nums", source.get("numbers")), source.get("target")
    fits = isinstance(numbers, list) and len(numbers) > 1 and all(map(_whole, numbers))
    if not isinstance(target, int) or isinstance(target, bool) or not fits:
        raise AhaError(
            f"Row {number} has no nums and target of whole numbers: its columns are {sorted(row)}."
        )
    problem = countdown.make_problem(list(numbers or ()), target, countdown.FULL)
    return Problem(
        id=f"{name}-{number}", task=name, messages=problem.messages, answer=problem.answer,
        metadata={**problem.metadata, "content": f"countdown {sorted(numbers)}"},
    )  # fmt: skip


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def prove(problem: Problem, row: Row) -> str:
    """Why a row cannot be used: its numbers do not make its target; "" where they do."""
    numbers = problem.metadata["numbers"]
    if int(problem.id.rpartition("-")[2]) > PROVEN or len(numbers) > MOST:
        return ""
    solved = reaches([Fraction(n) for n in numbers], Fraction(problem.metadata["target"]))
    return (
        "" if solved else f"its numbers do not make its target: {list(numbers)}, {problem.metadata['target']}"
    )


def reaches(values: list[Fraction], target: Fraction) -> bool:
    """Whether all the values, each used once, make the target with + - * /."""
    if len(values) == 1:
        return values[0] == target
    for i in range(len(values)):
        for j in range(i):
            a, b = values[i], values[j]
            rest = [v for k, v in enumerate(values) if k not in (i, j)]
            results = {a + b, a - b, b - a, a * b} | ({a / b} if b else set()) | ({b / a} if a else set())
            if any(reaches([*rest, value], target) for value in results):
                return True
    return False


READER = RowReader(make_problem, prove)


def task(source: str | None, name: str = "countdown", test_source: str | None = None) -> Task:
    """Countdown over the rows of ``source``: a file, or ``hub/name``."""
    own = countdown.task(countdown.FULL, name)

    def load_split(split: str, n: int, seed: int) -> list[Problem]:
        return rows.load(READER, name, split, n, seed, source, test_source)

    return Task(name, load_split, own.verify, own.verify_lenient, own.vote, own.facet)
