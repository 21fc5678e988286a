"""Overthinking: how much is written after the right answer has been found.

Measured as Chen et al. do (Do NOT Think That Much for 2+3=?, arXiv 2412.21187): the first place in the text at which
the right answer stands as a result, and the tokens behind it.
"""

from __future__ import annotations

import re

from aha import chat
from aha.tasks.base import Task
from aha.types import Outcome, Problem

PLACES = 64
"""Places of a text that are tried at most: the ends of its sentences, evenly thinned out where there are more."""
_END = re.compile(r"[.!?。！？](?=\s|$)|\n+")


def tokens_after_answer(problem: Problem, text: str, tokens: int, task: Task) -> int | None:
    """Tokens written after the right answer first stood at a sentence's end; None if it never did, or where the answer
    is no text (programs, rubrics). Tokens are told from characters by the text's own ratio."""
    if not isinstance(problem.answer, str) or not text or chat.kind_of(problem) == "free":
        return None
    ends = [match.end() for match in _END.finditer(text)] or [len(text)]
    step = -(-len(ends) // PLACES)
    start = 0
    for end in sorted({*ends[::step], ends[-1], len(text)}):
        if task.verify_lenient(problem, text[start:end]).outcome is Outcome.CORRECT:
            return round(tokens * (1 - end / len(text)))
        start = end
    return None
