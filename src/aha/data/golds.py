"""What a row gives as its reference answer: one text or several of which any is right, never prose or a null."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

MARK = "####"
"""What GSM8K writes in front of its answers."""
_THOUSANDS = re.compile(r"[-+]?\$?\d{1,3}(,\d{3})+(\.\d+)?")
_AFTERWARDS = re.compile(r"\s*(the answer is\b.*)?\s*", re.IGNORECASE)
_PLACEHOLDERS = frozenset(
    ["", "null", "none", "nan", "n/a", "proof", "notfound", "not found", "see solution"]
)
_COMMAND = re.compile(r"\\(?:text|mbox|mathrm|textbf)\s*\{[^{}]*\}|\\[A-Za-z]+|\$[^$]*\$")
_WORD = re.compile(r"[A-Za-z]{2,}")
_PROSE = 4  # words that make a worked solution without a box prose, not an answer


class NoGold(ValueError):
    """Why a value is no reference answer."""


def read_golds(value: Any) -> tuple[str, ...]:
    """The answers that a value stands for, any of which is right. Raises NoGold saying what is wrong with it.

    A list gives its members, also where it stands as JSON in a text (``["72"]``); numbers are written out.
    ``[1,2]`` in a text is an interval, and stays one.
    """
    if isinstance(value, str):
        members = _list_in(value)
        return _distinct(members) if members else (_text(value),)
    if isinstance(value, (list, tuple)):
        if not value:
            raise NoGold("its list of answers is empty")
        return _distinct(value)
    if isinstance(value, Mapping):
        raise NoGold(f"its answer is an object with the keys {', '.join(map(str, value))}, not a text")
    return (_text(_number(value)),)


def _distinct(members: Any) -> tuple[str, ...]:
    golds = []
    for member in members:
        if isinstance(member, (list, tuple, Mapping)):
            raise NoGold("its list of answers holds lists or objects")
        golds += [] if member is None else [_text(member if isinstance(member, str) else _number(member))]
    if not golds:
        raise NoGold("its answers are null")
    return tuple(dict.fromkeys(golds))


def _list_in(text: str) -> list[str]:
    """The texts of a list that stands in a text, as JSON or as Python writes it; else none."""
    inside = text.strip()
    if not (inside.startswith(("['", '["')) and inside.endswith(("']", '"]'))):
        return []
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(inside)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            return value
    return []


def _number(value: Any) -> str:
    if value is None:
        raise NoGold("its answer is null")
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, (float, Decimal)):
        raise NoGold(f"its answer is {type(value).__name__}, not a text or a number")
    if not math.isfinite(value):
        raise NoGold(f"its answer is {value}")
    return str(int(value)) if value == int(value) else format(Decimal(str(value)), "f")


def _text(text: str) -> str:
    """An answer's text: what stands after ``####`` where that is in it, thousands written as one number."""
    marked = after_mark(text)
    gold = (text if marked is None else marked).strip()
    if gold.casefold() in _PLACEHOLDERS:
        raise NoGold(f"its answer is {gold!r}" if gold else "its answer is empty")
    return gold.replace(",", "") if _THOUSANDS.fullmatch(gold) else gold


def after_mark(text: str) -> str | None:
    """The answer after the last ``####`` of a worked solution, if it stands at the end: one line, which MetaMath
    follows with "The answer is"."""
    if MARK not in text:
        return None
    line, _, rest = text.rpartition(MARK)[2].strip().partition("\n")
    return line.strip() if _AFTERWARDS.fullmatch(rest) else None


def from_solution(text: str) -> str:
    """The answer in a worked solution: after ``####``, in its last box, or all of it where it is short and no
    prose. Raises NoGold where it has none."""
    marked = after_mark(text)
    if marked is not None:
        return _text(marked)
    if "\\boxed" in text or "\\fbox" in text:
        return text  # the verifier reads the last box
    if len(_WORD.findall(_COMMAND.sub(" ", text[:1000]))) >= _PROSE or len(text) > 1000:
        raise NoGold(f"its solution states no answer in \\boxed{{}} or after {MARK}")
    return _text(text)
