"""Questions of several turns: what a row asks one after another, each turn with rules or an answer of its own.

Read are Multi-IF's columns (``turn_1_prompt``, ``turn_1_instruction_id_list``, ``turn_1_kwargs``, ``turn_2_prompt``,
...), lists of questions (``turns`` or ``prompt``, as MT-bench has them) with lists of answers or rules beside them, and
``turns`` that are rows themselves. The first turn is the problem; those after it stand in its metadata, each a problem.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from aha.data.sources import Row
from aha.types import AhaError, Message, Problem

TURNS, UNGRADED = "turns", "ungraded"
"""Keys of a problem's metadata: its later turns; that nothing is demanded of its answer."""
_LISTS = ("turns", "prompt")
_ANSWERS = ("answer", "answers", "reference", "references", "reference_answer", "solution")
_RULES = ("instruction_id_list", "kwargs")
_MOST = 64
"""Turns that a row may have."""


# --- rows --------------------------------------------------------------------------------------------------


def rows_of(row: Row) -> list[Row]:
    """A row of each turn; empty where it asks a single question. Raises AhaError for turns that cannot be read."""
    if row.get("turn_1_prompt") is not None:
        return _numbered(row)
    for name in _LISTS:
        asked = row.get(name)
        if isinstance(asked, list) and len(asked) > 1:
            if len(asked) > _MOST:
                raise AhaError(f"its {name} has {len(asked)} turns, more than {_MOST}")
            if all(map(_is_row, asked)):
                return [dict(turn) for turn in asked]
            if (questions := _questions(asked)) is not None:
                return _listed(row, name, questions)
    return []


def is_ungraded(row: Row) -> bool:
    """Whether nothing is demanded of the answer to a turn."""
    return row.get(UNGRADED) is True


def _numbered(row: Row) -> list[Row]:
    """Multi-IF's columns; turns that a conversation does not have are empty."""
    shared = {name: row[name] for name in ("language", "key") if row.get(name)}
    turns: list[Row] = []
    for number in range(1, _MOST + 1):
        said = _question(_unpacked(row.get(f"turn_{number}_prompt")))
        if not said:
            break
        rules = {name: _unpacked(row.get(f"turn_{number}_{name}")) for name in _RULES}
        demanded = rules if rules["instruction_id_list"] else {UNGRADED: True}
        turns.append({**shared, "prompt": said, **demanded})
    return turns


def _unpacked(cell: Any) -> Any:
    """A cell that a table keeps as JSON. Raises AhaError for one that is broken."""
    if not isinstance(cell, str) or cell.lstrip()[:1] not in ("{", "["):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise AhaError(f"one of its turns is no JSON ({error}): {cell[:40]!r}") from error


def _question(turn: Any) -> str:
    """The words of a turn: a text, or a message of the user's; "" for anything else."""
    if isinstance(turn, Mapping) and turn.get("role", "user") == "user":
        turn = turn.get("content")
    return turn.strip() if isinstance(turn, str) else ""


def _is_row(turn: Any) -> bool:
    return isinstance(turn, Mapping) and "content" not in turn and "role" not in turn


def _questions(asked: Sequence[Any]) -> list[str] | None:
    """The questions of a list; None where it is a conversation, whose messages say who speaks."""
    if any(isinstance(turn, Mapping) and "role" in turn for turn in asked):
        return None
    questions = [_question(turn) for turn in asked]
    return questions if all(questions) else None


def _listed(row: Row, name: str, questions: Sequence[str]) -> list[Row]:
    """A row of each question. A list of as many answers has each turn's own; other columns are the last turn's."""
    n = len(questions)
    own = [c for c in (*_ANSWERS, *_RULES) if _of_each(row.get(c), n, nested=c in _RULES)]
    rest = {key: value for key, value in row.items() if key != name and key not in own}
    turns: list[Row] = []
    for at, question in enumerate(questions):
        told = {c: row[c][at] for c in own if row[c][at] not in (None, "", [])}
        answers = [told[c] for c in _ANSWERS if c in told]
        told |= {"answer": answers[0]} if answers else {}
        last = at == n - 1
        asked = {"prompt": question, **told} if told or last else {"prompt": question, UNGRADED: True}
        turns.append({**rest, **asked} if last else asked)
    return turns


def _of_each(value: Any, n: int, *, nested: bool) -> bool:
    return (
        isinstance(value, list)
        and len(value) == n
        and (not nested or all(isinstance(v, list) for v in value))
    )


# --- problems ----------------------------------------------------------------------------------------------


def joined(problems: Sequence[Problem]) -> Problem:
    """Problems that are asked one after another as one."""
    first, *later = problems
    return replace(first, metadata={**first.metadata, TURNS: tuple(later)}) if later else first


def later(problem: Problem) -> tuple[Problem, ...]:
    """The turns behind a problem's first."""
    return problem.metadata.get(TURNS, ())


def count(problem: Problem) -> int:
    """How many turns a problem has."""
    return 1 + len(later(problem))


def without_rules(problem: Problem) -> bool:
    """Whether nothing is demanded of the answer to a turn."""
    return problem.metadata.get(UNGRADED) is True


def unruled(row: Row, number: int, name: str) -> Problem:
    """A turn of whose answer nothing is demanded."""
    asked = ({"role": "user", "content": _question(row.get("prompt"))},)
    return Problem(f"{name}-{number}", name, asked, metadata={UNGRADED: True, "form": "free"})


def at_turn(problem: Problem, said: Sequence[str]) -> Problem:
    """The problem of the turn behind those that ``said`` answers: the conversation so far, and that turn's rules."""
    turns = (problem, *later(problem))
    messages: list[Message] = []
    for turn, answer in zip(turns, said, strict=False):
        messages += [*turn.messages, {"role": "assistant", "content": answer}]
    now = turns[len(said)]
    own = {k: v for k, v in now.metadata.items() if k != TURNS}
    name = f"{problem.id}.{len(said) + 1}" if said else problem.id
    return replace(now, id=name, messages=(*messages, *now.messages), metadata=own)


def split(problem: Problem) -> Problem:
    """A conversation as turns that are asked one after another: the answers that are stored in it are left away, and
    what is demanded is demanded of the last. A problem of one question, or of turns already, as it is."""
    users = [i for i, message in enumerate(problem.messages) if message.get("role") == "user"]
    if len(users) < 2 or later(problem):
        return problem
    starts = [0, *users[1:]]
    parts = [problem.messages[a:b] for a, b in zip(starts, [*starts[1:], len(problem.messages)], strict=True)]
    parts = [tuple(m for m in part if m.get("role") != "assistant") for part in parts]
    *before, asked = parts
    plain = [
        replace(problem, messages=part, answer=None, metadata={UNGRADED: True, "form": "free"})
        for part in before
    ]
    return joined([*plain, replace(problem, messages=asked)])
