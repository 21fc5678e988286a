"""Questions with one final answer, from rows of a file or of a hub data set: GSM8K and the like."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

from aha.data.sources import map_row, read_rows
from aha.rewards.math import Extraction, extract, grade, parse_gold
from aha.rewards.math.extract import Found
from aha.tasks.base import SPLITS, Task
from aha.types import AhaError, Outcome, Problem, Verdict

STRICT = Extraction(answer_tags=True)
LENIENT = Extraction(answer_tags=True, phrase=True, last_number=True)
HELD_OUT = {"test": (0,), "validation": (1,), "train": tuple(range(2, 20))}


def _part(question: str) -> int:
    return int.from_bytes(hashlib.sha256(question.strip().encode()).digest()[:4], "big") % 20


def read_problems(source: str, name: str, hub_split: str) -> list[Problem]:
    """Every row as a problem, its reference answer read once. Raises AhaError naming the first bad row."""
    problems = []
    for number, row in enumerate(read_rows(source, hub_split), 1):
        mapped = map_row(row, number)
        try:
            parse_gold(mapped.answer)
        except AhaError as error:
            raise AhaError(f"{source}, row {number}: {error}") from error
        problems.append(
            Problem(
                id=f"{name}-{number}",
                task=name,
                messages=({"role": "user", "content": mapped.question},),
                answer=mapped.answer,
                metadata={"schema": mapped.schema},
            )
        )
    return problems


def load(
    source: str, name: str, split: str, n: int, seed: int, test_source: str | None = None
) -> list[Problem]:
    """At most ``n`` problems of a split. Without a test file, 5% + 5% of the questions are held out by
    their text, so that equal questions never stand on both sides."""
    if split not in SPLITS:
        raise AhaError(f"Task {name} has no split '{split}'. Use one of {', '.join(SPLITS)}.")
    if split == "test" and test_source:
        problems = read_problems(test_source, name, "test")
    else:
        parts = (
            HELD_OUT[split] if not test_source else {"validation": (1,)}.get(split, (0, *HELD_OUT["train"]))
        )
        problems = [
            p for p in read_problems(source, name, "train") if _part(p.messages[0]["content"]) in parts
        ]
    if not problems:
        raise AhaError(f"{source} has no rows for the {split} split: give more rows.")
    random.Random(f"{name}:{split}:{seed}").shuffle(problems)
    return problems[:n]


def verifier(options: Extraction) -> Callable[[Problem, str], Verdict]:
    """Grades what ``options`` find in a text against the problem's answer."""

    def verify(problem: Problem, text: str) -> Verdict:
        assert isinstance(problem.answer, str)
        found = extract(text, options)
        if found is None or not found.text.strip():
            return Verdict(Outcome.NO_ANSWER, "no answer in \\boxed{} or <answer> after the thinking")
        return grade(parse_gold(problem.answer), found)

    return verify


def vote(problem: Problem, text: str) -> str | None:
    """The answer's text, as its ballot in a majority vote."""
    found = extract(text, STRICT)
    return None if found is None else _ballot(found)


def _ballot(found: Found) -> str:
    return "".join(found.text.split()).strip("$").lower()


def task(source: str, name: str = "math", test_source: str | None = None) -> Task:
    """A task over the rows of ``source``: a file, or ``hub/name`` or ``hub/name:config``."""

    def load_split(split: str, n: int, seed: int) -> list[Problem]:
        return load(source, name, split, n, seed, test_source)

    return Task(name, load_split, verifier(STRICT), verifier(LENIENT), vote)
