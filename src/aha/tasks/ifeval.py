"""Instruction following by rules, from rows: IFEval (prompt, instruction_id_list, kwargs), also Chinese prompts, and
Multi-IF, whose rows ask several turns (``turns``)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from aha import chat
from aha.chat.prompts import FORM
from aha.data.sources import Row
from aha.rewards.instructions import broken, broken_loosely, check_known
from aha.tasks import rows
from aha.tasks.base import Task
from aha.tasks.rows import RowReader, language_of
from aha.types import AhaError, Message, Outcome, Problem, Verdict


def make_problem(row: Row, number: int, name: str = "ifeval") -> Problem:
    """The problem in a row. Raises AhaError naming the row if an instruction cannot be checked."""
    asked, kinds, told = _asked(row), row.get("instruction_id_list"), row.get("kwargs")
    if not asked or not isinstance(kinds, list) or not isinstance(told, list):
        raise AhaError(
            f"Row {number} has no prompt, instruction_id_list and kwargs: its columns are {sorted(row)}."
        )
    if len(kinds) != len(told) or not kinds:
        raise AhaError(f"Row {number} has {len(kinds)} instructions, but {len(told)} kwargs.")
    instructions = [(str(kind), _given(kwargs)) for kind, kwargs in zip(kinds, told, strict=True)]
    for kind, kwargs in instructions:
        check_known(kind, kwargs)
    return Problem(
        id=f"{name}-{number}",
        task=name,
        messages=asked,
        language=language_of(asked[-1]["content"], str(row.get("language") or "")),
        metadata={
            "instructions": tuple(instructions),
            FORM: "free",
            "instruction_id_list": kinds,
            "kwargs": told,
            **({"language_name": str(row["language"])} if row.get("language") else {}),
        },
    )


def _asked(row: Row) -> tuple[Message, ...]:
    """A prompt, or a conversation up to a question: then what earlier turns asked for may be among the rules."""
    prompt = row.get("prompt") or row.get("messages") or row.get("question")
    if isinstance(prompt, str):
        return ({"role": "user", "content": prompt},)
    turns = prompt if isinstance(prompt, list) else []
    whole = all(isinstance(t, Mapping) and isinstance(t.get("content"), str) for t in turns)
    if not turns or not whole or turns[-1].get("role", "user") != "user":
        return ()
    return tuple({"role": str(t.get("role", "user")), "content": t["content"]} for t in turns)


def _given(kwargs: Any) -> dict[str, Any]:
    """What an instruction is told; Parquet files have a null for everything else, Multi-IF keeps it as JSON."""
    if isinstance(kwargs, str):
        try:
            kwargs = json.loads(kwargs)
        except (ValueError, RecursionError) as error:
            raise AhaError(f"what an instruction is told is no JSON ({error}): {kwargs[:40]!r}") from error
    return {k: v for k, v in kwargs.items() if v is not None} if isinstance(kwargs, Mapping) else {}


def verify(problem: Problem, text: str) -> Verdict:
    """Right if what is said after the thinking follows every instruction (IFEval's strict accuracy)."""
    return _judged(problem, text, broken)


def verify_loosely(problem: Problem, text: str) -> Verdict:
    """The same by IFEval's loose rule: a first or last line and stars may be taken away."""
    return _judged(problem, text, broken_loosely)


def _judged(problem: Problem, text: str, rule: Callable[..., list[str]]) -> Verdict:
    said = chat.parse(text).said
    if not said:
        return Verdict(Outcome.NO_ANSWER, "nothing is said after the thinking")
    not_followed = rule(said, list(problem.metadata["instructions"]), problem.language)
    if not_followed:
        return Verdict(Outcome.WRONG, f"does not follow {', '.join(not_followed)}")
    return Verdict(Outcome.CORRECT)


def followed(problem: Problem, text: str) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """Of each instruction whether it is followed, by the strict and by the loose rule."""
    said = chat.parse(text).said
    instructions = list(problem.metadata["instructions"])
    strict, loose = (
        tuple(bool(said) and not rule(said, [one], problem.language) for one in instructions)
        for rule in (broken, broken_loosely)
    )
    return strict, loose


READER = RowReader(make_problem)


def task(source: str | None, name: str = "ifeval", test_source: str | None = None) -> Task:
    """Instructions over the rows of ``source``: a file, or ``hub/name``."""

    def load_split(split: str, n: int, seed: int) -> list[Problem]:
        return rows.load(READER, name, split, n, seed, source, test_source)

    def vote(problem: Problem, text: str) -> None:
        return None

    return Task(name, load_split, verify, verify_loosely, vote, _facet, followed=followed)


def _facet(problem: Problem) -> str:
    """The language where rows say one (Multi-IF), else the group of the first instruction."""
    if problem.metadata.get("language_name"):
        return str(problem.metadata["language_name"])
    return str(problem.metadata["instructions"][0][0]).partition(":")[0]
