"""Reading comprehension with numbers, dates and spans: DROP (Dua et al., arXiv 1903.00161), by its F1 over words.

An answer is worth the F1 between its words and the reference's, the best over several references: spans are paired so
that the sum is highest, and a pair without a number in common, where the reference has one, is worth nothing.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from aha import chat
from aha.data.sources import Row
from aha.rewards.places import answer_line, stated
from aha.tasks import rows
from aha.tasks.base import Task
from aha.tasks.rows import RowReader
from aha.types import AhaError, Outcome, Problem, Verdict

MAX_CHARS = 2000
MAX_SPANS = 12
_ARTICLES = ("a", "an", "the")
_PUNCTUATION = frozenset(string.punctuation)
_PARTS = re.compile(r"[;\n]|, (?:and )?| and ")
Spans = tuple[str, ...]


def make_problem(row: Row, number: int, name: str = "drop") -> Problem:
    """The problem in a row. Raises AhaError naming the row."""
    asked, golds = _asked(row), read_golds(row)
    if not asked or not golds:
        raise AhaError(
            f"Row {number} has no passage, question and answer: its columns are {sorted(row)}. Wanted: passage, "
            "question and one of answer (number, date, spans), answers_spans or ref_text."
        )
    return Problem(
        id=f"{name}-{number}",
        task=name,
        messages=({"role": "user", "content": asked},),
        answer="; ".join(golds[0]),
        metadata={"golds": golds, "content": asked},
    )


def _asked(row: Row) -> str:
    """Passage and question; simple-evals has both in one context. "" where one is missing."""
    passage, question = row.get("passage", row.get("context")), row.get("question")
    if not isinstance(passage, str):
        return ""
    if isinstance(question, str) and question.strip():
        return f"{passage.strip()}\n\nQuestion: {question.strip()}"
    return passage.strip().removesuffix("Answer:").rstrip() if "Question:" in passage else ""


def read_golds(row: Row) -> tuple[Spans, ...]:
    """Every reference answer of a row, each of one span or several; empty without any."""
    answers = [_annotated(row.get("answer"))]
    checked = row.get("validated_answers")
    if isinstance(checked, Mapping):  # columns of lists, as hub sets store them
        checked = [dict(zip(checked, values, strict=True)) for values in zip(*checked.values(), strict=True)]
    answers += [_annotated(one) for one in checked] if isinstance(checked, Sequence) else []
    spans = row.get("answers_spans")
    if isinstance(spans, Mapping) and isinstance(spans.get("spans"), Sequence):
        answers += [(str(span),) for span in spans["spans"]]
    if isinstance(row.get("ref_text"), str):
        answers += [(part,) for part in row["ref_text"].split("|")]
    return tuple(dict.fromkeys(spans for spans in answers if spans and all(s.strip() for s in spans)))


def _annotated(answer: Any) -> Spans:
    """A number, spans or a date, as DROP's annotators gave it."""
    if not isinstance(answer, Mapping):
        return ()
    if str(answer.get("number") or "").strip():
        return (str(answer["number"]),)
    if answer.get("spans"):
        return tuple(str(span) for span in answer["spans"])
    date = answer.get("date")
    parts = [str(date.get(k) or "") for k in ("day", "month", "year")] if isinstance(date, Mapping) else []
    said = " ".join(part for part in parts if part)
    return (said,) if said else ()


# --- the measure ---------------------------------------------------------------------------------------------


def words_of(text: str) -> frozenset[str]:
    """The words of a span as they are compared: without case, articles and punctuation, numbers by value."""
    pieces = (_word(piece) for piece in re.split(r"[ \-\n\t]", text[:MAX_CHARS].casefold()))
    return frozenset(piece for piece in pieces if piece and piece not in _ARTICLES)


def _word(piece: str) -> str:
    if (number := _number(piece)) is not None:
        return number
    bare = "".join(c for c in piece if c not in _PUNCTUATION)
    return _number(bare) or bare


def _number(piece: str) -> str | None:
    try:
        return str(float(piece.strip(",.$%").replace(",", "")))
    except (ValueError, OverflowError):
        return None


def f1(predicted: Spans, gold: Spans) -> float:
    """The F1 of an answer's spans against one reference's, in 0..1: the best pairing, over the larger number."""
    ours, theirs = ([words_of(span) for span in side[:MAX_SPANS]] for side in (predicted, gold))
    worth = [[_f1(a, b) for b in ours] for a in theirs]
    return round(_paired(worth) / max(len(predicted), len(gold), 1), 4)


def _f1(gold: frozenset[str], predicted: frozenset[str]) -> float:
    numbers = {w for w in gold if _number(w) is not None}
    shared = len(gold & predicted)
    if not shared or (numbers and not numbers & predicted):
        return 0.0
    return 2 * shared / (len(gold) + len(predicted))


def _paired(worth: Sequence[Sequence[float]]) -> float:
    """The highest sum over pairs, each row and each column in one of them at most."""
    rows_of = [list(row) for row in worth]

    @lru_cache(None)
    def best(row: int, taken: int) -> float:
        if row == len(rows_of):
            return 0.0
        left = best(row + 1, taken)
        free = [c for c in range(len(rows_of[row])) if not taken >> c & 1 and rows_of[row][c] > 0]
        return max([left, *(rows_of[row][c] + best(row + 1, taken | 1 << c) for c in free)])

    return best(0, 0)


def exact(predicted: Spans, gold: Spans) -> bool:
    """Whether both have the same spans, in any order."""
    ours, theirs = (sorted(map(sorted, map(words_of, side))) for side in (predicted, gold))
    return ours == theirs


def grade(problem: Problem, said: str) -> Verdict:
    """The best F1 over the references, and right where all words agree with one of them."""
    best, right = 0.0, False
    for gold in problem.metadata["golds"]:
        spans = tuple(p for p in _PARTS.split(said[:MAX_CHARS]) if p.strip()) if len(gold) > 1 else (said,)
        best, right = max(best, f1(spans, gold)), right or exact(spans, gold)
    note = f"F1 {best:.2f}, of {problem.answer!r}"
    return Verdict(Outcome.CORRECT if right else Outcome.WRONG, note, best)


def verify(problem: Problem, text: str) -> Verdict:
    """Grade the answer where the prompt asked for it."""
    said = stated(problem, text)
    if said is None or not said.strip():
        return Verdict(Outcome.NO_ANSWER, "no answer where the prompt asks for it, after the thinking", 0.0)
    return grade(problem, said)


def verify_lenient(problem: Problem, text: str) -> Verdict:
    """The same; without tags and box the line that begins with "Answer:", else the last line."""
    said = stated(problem, text) or answer_line(text)
    lines = [line for line in (chat.parse(text).body or text).splitlines() if line.strip()]
    said = said or (lines[-1] if lines else "")
    return grade(problem, said) if said.strip() else Verdict(Outcome.NO_ANSWER, "nothing is said", 0.0)


def vote(problem: Problem, text: str) -> str | None:
    """The answer's words as its ballot."""
    said = stated(problem, text)
    return " ".join(sorted(words_of(said))) if said and said.strip() else None


def prove(problem: Problem, row: Row) -> str:
    """Why a row's own answer is not judged right; "" where it is."""
    return (
        ""
        if grade(problem, str(problem.answer)).outcome is Outcome.CORRECT
        else "its own answer is not judged right"
    )


READER = RowReader(make_problem, prove)


def task(source: str | None, name: str = "drop", test_source: str | None = None) -> Task:
    """Reading comprehension over the rows of ``source``: a file, or ``hub/name``."""

    def load_split(split: str, n: int, seed: int) -> list[Problem]:
        return rows.load(READER, name, split, n, seed, source, test_source)

    return Task(name, load_split, verify, verify_lenient, vote)
