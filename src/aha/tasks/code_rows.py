"""Programming problems from rows: HumanEval, MBPP, APPS and TACO, LiveCodeBench, and lists of tests.

Each becomes a question and tests that the code reward can run (``types.TestCase``). A row whose tests cannot
be read, or whose own solution fails them, is set aside with the reason as the data loads, never graded wrongly
later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache

from aha.data.sources import Row
from aha.rewards.code import CodeReward, Mode, check_tests
from aha.tasks import code_proofs, rows
from aha.tasks.base import Task
from aha.tasks.code import Grader, vote
from aha.tasks.code_tests import only_prepares, read_tests
from aha.tasks.rows import RowReader, facet, stored_tests
from aha.types import AhaError, Problem

_QUESTIONS = (
    *("question", "problem", "problem_description", "prompt", "text", "question_content", "description"),
    *("query", "instruction", "question_title", "instruct_prompt", "complete_prompt"),
)


def make_problem(row: Row, number: int, name: str = "code") -> Problem:
    """The problem in a row. Raises AhaError naming the row if it has no question or no usable tests."""
    question = _question(row) or _last_user(row)
    if question is None:
        raise AhaError(f"Row {number} has no question: its columns are {sorted(row)}. Wanted: {_listed()}.")
    try:
        kept = stored_tests(row)
        tests, shown = (list(kept), "") if kept else read_tests(row)
    except (ValueError, TypeError, KeyError, AttributeError, SyntaxError, RecursionError) as error:
        raise AhaError(f"Row {number}: its tests cannot be read: {error}. Correct or drop it.") from error
    text = "\n\n".join(part for part in (question.strip(), *_forms(row), shown) if part)
    starter = row.get("starter_code")
    if isinstance(starter, str) and starter.strip():
        text += f"\n\nStart from:\n```python\n{starter.strip()}\n```"
    messages = ({"role": "user", "content": text},)
    problem = Problem(
        f"{name}-{number}",
        name,
        messages,
        tuple(tests),
        metadata={"content": question, **_contest(row), **_date(row)},
    )
    check_tests(problem)
    return problem


_FORMS = (("input_format", "Input"), ("output_format", "Output"), ("note", "Note"))


def _forms(row: Row) -> list[str]:
    """What rows of Codeforces keep beside the story: the forms of input and output, notes and examples."""
    parts = [
        f"{title}:\n{row[name].strip()}"
        for name, title in _FORMS
        if isinstance(row.get(name), str) and row[name].strip()
    ]
    shown = row.get("examples") if parts else None
    pairs = [one for one in shown or () if isinstance(one, Mapping) and {"input", "output"} <= one.keys()]
    examples = [f"Input:\n{str(p['input']).strip()}\nOutput:\n{str(p['output']).strip()}" for p in pairs]
    return [*parts[:2], *(["Examples:\n" + "\n\n".join(examples)] if examples else []), *parts[2:]]


def _contest(row: Row) -> dict[str, str | float]:
    """Which contest a problem was of and how many points it was worth, where rows number its problems (``index``), as
    those of Codeforces do."""
    contest = next((row[key] for key in ("contest_id", "contestId", "contest") if row.get(key)), None)
    if contest is None or not row.get("index"):
        return {}
    points = row.get("points")
    worth = float(points) if isinstance(points, (int, float)) and points > 0 else 1.0
    return {"contest": str(contest), "points": worth}


def _date(row: Row) -> dict[str, str]:
    """The day of a problem's contest, where a row says it: as text, or as a table's own time."""
    said = row.get("contest_date")
    day = said.isoformat() if isinstance(said, date) else said
    return {"date": day[:10]} if isinstance(day, str) and re.match(r"\d{4}-\d{2}-\d{2}", day) else {}


def _question(row: Row) -> str | None:
    meta = row.get("meta")
    for place in (row, meta if isinstance(meta, Mapping) else {}):
        for name in _QUESTIONS:
            value = place.get(name)
            if isinstance(value, str) and value.strip() and not (name == "prompt" and only_prepares(row)):
                return value
    return None


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


@lru_cache(maxsize=1)
def _proving() -> CodeReward:
    return CodeReward(Mode.ALL)


def prove(problem: Problem, row: Row) -> str:
    """Why a row cannot be used, by the very judges of answers; "" where it can."""
    return code_proofs.prove(problem, row, _proving())


READER = RowReader(make_problem, prove)


def task(
    source: str | None, name: str = "code", test_source: str | None = None, reward: CodeReward | None = None
) -> Task:
    """Programming problems over the rows of ``source``: a file, or ``hub/name`` or ``hub/name:config``."""
    grader = Grader(reward)

    def load_split(split: str, n: int, seed: int) -> list[Problem]:
        return rows.load(READER, name, split, n, seed, source, test_source)

    return Task(name, load_split, grader.verify, grader.verify_lenient, vote, facet)
