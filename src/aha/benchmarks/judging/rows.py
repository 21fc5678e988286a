"""Rows of benchmarks that a judge grades, in the forms that they are published in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from aha.chat.prompts import FORM
from aha.data.sources import Row
from aha.types import AhaError, Message, Problem

_QUESTIONS = ("instruction", "problem", "question", "prompt", "Prompt", "query")
_KINDS = ("primary_category", "category", "cluster", "dataset", "reasoning_types")
_TOPIC = re.compile(r"""['"]topic['"]: ['"]([^'"]{1,80})['"]""")
_ANSWERS = ("answer", "Answer", "output", "baseline", "reference", "reference_answer", "response")


def make_problem(row: Row, number: int, name: str) -> Problem:
    """A question with the answer that a judge is shown beside: the reference, or the baseline's. Raises AhaError naming
    the row where it lacks one."""
    asked = _asked(row)
    answer = next((row[k] for k in _ANSWERS if isinstance(row.get(k), str) and row[k].strip()), _stored(row))
    if not asked or answer is None:
        missing = "question" if not asked else "answer to hold it against"
        raise AhaError(
            f"Row {number} has no {missing}: its columns are {sorted(row)}. Wanted: one of {', '.join(_QUESTIONS)} or "
            f"turns, and one of {', '.join(_ANSWERS)}."
        )
    said = {"domain": _word(row), "instruction_difficulty": row.get("instruction_difficulty")}
    return Problem(
        id=f"{name}-{number}",
        task=name,
        messages=asked,
        answer=answer,
        metadata={FORM: "free", **{k: v for k, v in said.items() if v not in (None, "")}},
    )


def _stored(row: Row) -> str | None:
    """The answer as Arena-Hard keeps a model's: in the first of ``choices``, or at the end of ``messages``."""
    choices = row.get("choices")
    stored = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) else {}
    turns = stored.get("turns") or row.get("messages")
    last = turns[-1] if isinstance(turns, list) and turns and isinstance(turns[-1], Mapping) else {}
    if last.get("role", "assistant") != "assistant":
        return None
    said = last.get("content")
    said = said.get("answer") if isinstance(said, Mapping) else said
    return said if isinstance(said, str) and said.strip() else None


def _asked(row: Row) -> tuple[Message, ...]:
    text = next((row[k] for k in _QUESTIONS if isinstance(row.get(k), str) and row[k].strip()), "")
    turns = row.get("turns") or (None if text else row.get("messages"))
    if isinstance(turns, Sequence) and not isinstance(turns, str) and turns:
        return tuple(_turn(t) for t in turns if not (t is turns[-1] and _is_answer(t)))
    return ({"role": "user", "content": text},) if text else ()


def _is_answer(turn: Any) -> bool:
    return isinstance(turn, Mapping) and turn.get("role") == "assistant"


def _turn(turn: Any) -> Message:
    content = turn.get("content") if isinstance(turn, Mapping) else turn
    if not isinstance(content, str):
        raise AhaError(f"a turn is {type(turn).__name__} without words")
    return {
        "role": str(turn.get("role", "user")) if isinstance(turn, Mapping) else "user",
        "content": content,
    }


def _word(row: Row) -> str:
    """A row's own word for its kind."""
    metadata = row.get("metadata")
    if isinstance(metadata, str) and (topic := _TOPIC.search(metadata)):  # SimpleQA keeps an object as text
        return topic[1]
    word = metadata.get("topic") if isinstance(metadata, Mapping) else None
    word = word or next((row[name] for name in _KINDS if row.get(name)), None)
    return word if isinstance(word, str) else ""
