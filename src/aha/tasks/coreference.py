"""CLUEWSC: what a Chinese pronoun stands for, as questions with the options yes and no (CLUE, arXiv 2004.05986).

A row has ``text``, ``target`` with two spans (what could be meant, and the pronoun) and ``label``: a word, or its
number in CLUE's list of labels, in which "true" is the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aha.data.sources import Row
from aha.types import AhaError

OPTIONS = ("是", "不是")
"""The first where both spans mean the same."""
_LABELS: Mapping[str, int] = {"true": 0, "false": 1, "1": 0, "0": 1}
_PRONOUNS = "他她它这那其自"


def as_choice(row: Row) -> dict[str, Any] | None:
    """A row of CLUEWSC as one with a question, options and the right one; None for any other row. Raises AhaError for
    one whose label cannot be read."""
    text, target = row.get("text"), row.get("target")
    if not isinstance(text, str) or not isinstance(target, Mapping):
        return None
    spans = [target.get("span1_text"), target.get("span2_text")]
    if not all(isinstance(span, str) and span.strip() for span in spans):
        return None
    named, pronoun = map(str, spans if str(spans[1])[0] in _PRONOUNS else reversed(spans))
    question = f"{text.strip()}\n上文中的“{pronoun}”指的是“{named}”吗？"
    return {"question": question, "choices": list(OPTIONS), "answer": _label(row.get("label"))}


def _label(value: Any) -> int:
    if isinstance(value, bool):
        return int(not value)
    if isinstance(value, int) and value in (0, 1):
        return value  # the number of a word in the list (true, false)
    label = _LABELS.get(str(value).strip().lower()) if isinstance(value, str) else None
    if label is None:
        raise AhaError(
            f"its label {value!r} is neither true nor false: rows of a hidden test cannot be graded"
        )
    return label
