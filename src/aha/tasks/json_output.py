"""Answers as JSON that keep a schema, and where a row says so with a certain content.

A row has a ``schema`` (or ``json_schema``), a question unless any value of that schema will do (JSONSchemaBench), and
perhaps an ``answer``: the object, or a part of it, that is wanted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aha import chat
from aha.chat.prompts import FORM
from aha.data.sources import Row
from aha.rewards.json_schema import check_schema, equal, violation
from aha.rewards.json_schema.automaton import TooMuchError
from aha.tasks import rows
from aha.tasks.base import Task
from aha.tasks.rows import RowReader
from aha.types import AhaError, Outcome, Problem, Verdict

MAX_CHARS = 40_000
_ASK = "Answer with one JSON value and nothing else. It must keep this schema:\n{schema}"


def make_problem(row: Row, number: int, name: str = "json_output") -> Problem:
    """The problem in a row. Raises AhaError naming the row, and for a schema that is not understood."""
    asked = next((row[k] for k in ("question", "prompt", "instruction") if isinstance(row.get(k), str)), None)
    schema = row.get("schema", row.get("json_schema"))
    schema = json.loads(schema) if isinstance(schema, str) else schema
    if schema is None:
        raise AhaError(f"Row {number} has no schema (or json_schema): its columns are {sorted(row)}.")
    check_schema(schema, f"Row {number}: the schema")
    told, answer = _ASK.format(schema=json.dumps(schema, ensure_ascii=False)), row.get("answer")
    answer = json.loads(answer) if isinstance(answer, str) and answer.lstrip()[:1] in ("{", "[") else answer
    return Problem(
        id=f"{name}-{number}",
        task=name,
        messages=({"role": "user", "content": f"{asked.strip()}\n\n{told}" if asked else told},),
        metadata={FORM: "free", "schema": schema, "wanted": answer},
    )


def read_value(text: str) -> tuple[Any, str]:
    """(the JSON value that a text is, why it is none): alone, or in one code fence."""
    said = text.strip()
    if said.startswith("```") and said.endswith("```") and len(said) > 6:
        said = said[3:-3].removeprefix("json").strip()
    if len(said) > MAX_CHARS:
        return None, f"longer than {MAX_CHARS:,} characters"
    try:
        return json.loads(said, parse_constant=_no_number), ""
    except (ValueError, RecursionError) as error:
        return None, f"no JSON ({str(error)[:60]}): {said[:40]!r}"


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def verify(problem: Problem, text: str) -> Verdict:
    """Right where what is said after the thinking is JSON alone, keeps the schema and has the wanted content; not
    graded where a pattern and a text are too large together."""
    said = chat.parse(text).said
    if not said:
        return Verdict(Outcome.NO_ANSWER, "nothing is said after the thinking")
    value, wrong = read_value(said)
    try:
        wrong = (
            wrong or violation(value, problem.metadata["schema"]) or _other(value, problem.metadata["wanted"])
        )
    except TooMuchError as error:
        return Verdict(Outcome.UNKNOWN, str(error))
    return Verdict(Outcome.WRONG if wrong else Outcome.CORRECT, wrong)


def _other(value: Any, expected: Any) -> str:
    """In what a value is not the wanted one; of objects the wanted keys count."""
    if expected is None:
        return ""
    if isinstance(expected, Mapping) and isinstance(value, Mapping):
        wrong = next((k for k, v in expected.items() if k not in value or not equal(value[k], v)), None)
        return (
            ""
            if wrong is None
            else f"{wrong} is {str(value.get(wrong))[:40]!r}, not {str(expected[wrong])[:40]!r}"
        )
    return "" if equal(value, expected) else f"it is {str(value)[:40]!r}, not {str(expected)[:40]!r}"


READER = RowReader(make_problem)


def task(source: str | None, name: str = "json_output", test_source: str | None = None) -> Task:
    """JSON answers over the rows of ``source``: a file, or ``hub/name``."""

    def load_split(split: str, n: int, seed: int) -> list[Problem]:
        return rows.load(READER, name, split, n, seed, source, test_source)

    return Task(name, load_split, verify, verify, lambda problem, text: None)
