"""Conversations whose every turn a judge grades from 1 to 10, as MT-bench does (Zheng et al., arXiv 2306.05685).

Single-answer grading: of the first turn the judge reads the question and the answer, of a later one the whole
conversation, and grades its last answer alone. Questions of mathematics, reasoning and coding are graded beside
reference answers. Its figures are the mean scores of the first turns, of the second ones, and of all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from aha.chat.prompts import FORM
from aha.data.sources import Row
from aha.judges.asking import Judge, final_text
from aha.judges.prompts import JudgedTurn
from aha.tasks import turns
from aha.types import AhaError, Outcome, Problem, Verdict

_log = logging.getLogger(__name__)

WITH_REFERENCE = frozenset({"math", "reasoning", "coding"})
"""Categories whose answers are graded beside a reference."""
HIGHEST = 10.0
REFERENCES = "references"
"""Key of a turn's metadata: the reference answers of this turn and of those before, "" where there is none."""
_QUESTIONS = ("turns", "prompt")
_ANSWERS = ("reference", "reference_answer", "references")


def make_problem(row: Row, number: int, name: str) -> Problem:
    """A row's conversation. Raises AhaError naming the row where it has no questions."""
    asked = next((row[k] for k in _QUESTIONS if isinstance(row.get(k), (list, str)) and row[k]), None)
    questions = [asked] if isinstance(asked, str) else list(asked or ())
    if not questions or not all(isinstance(q, str) and q.strip() for q in questions):
        raise AhaError(
            f"Row {number} has no questions: its columns are {sorted(row)}. Wanted: a list of texts in turns or prompt."
        )
    category = str(row.get("category") or "")
    known = _references(row, len(questions)) if category in WITH_REFERENCE else [""] * len(questions)
    return turns.joined(
        [
            Problem(
                f"{name}-{number}",
                name,
                ({"role": "user", "content": question},),
                known[at] or None,
                metadata={FORM: "free", "domain": category, REFERENCES: tuple(known[: at + 1])},
            )
            for at, question in enumerate(questions)
        ]
    )


def _references(row: Row, n: int) -> list[str]:
    """A reference of each turn, "" for none: the row's own, or a model's answers as FastChat keeps them."""
    choices = row.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    stored = first.get("turns") if isinstance(first, Mapping) else None
    texts = stored or next((row[k] for k in _ANSWERS if row.get(k)), [])
    texts = [texts] if isinstance(texts, str) else list(texts) if isinstance(texts, Sequence) else []
    return [text if isinstance(text, str) else "" for text in (*texts, *[""] * n)][:n]


def without_references(problems: Sequence[Problem]) -> int:
    """How many turns should be graded beside a reference and have none."""
    every = [turn for problem in problems for turn in (problem, *turns.later(problem))]
    return sum(
        turn.metadata.get("domain") in WITH_REFERENCE and not turn.metadata[REFERENCES][-1] for turn in every
    )


def tell_missing(name: str, problems: Sequence[Problem]) -> None:
    """Warn of turns that are graded without the reference that they should have."""
    if missing := without_references(problems):
        _log.warning(
            "%s: %d turns of mathematics, reasoning or coding have no reference answer, and are graded without one. "
            "FastChat's reference_answer/gpt-4.jsonl has them: --tasks %s=QUESTION.jsonl+gpt-4.jsonl.",
            name, missing, name,
        )  # fmt: skip


def exchanges(problem: Problem, said: str) -> list[JudgedTurn]:
    """What was asked and said in a conversation up to the answer ``said``."""
    texts = [str(m["content"]) for m in problem.messages if m.get("role") in ("user", "assistant")]
    questions, answers = texts[::2], [*texts[1::2], said]
    known = problem.metadata.get(REFERENCES, ())
    known = [*known, *[""] * len(questions)][: len(questions)]
    return [JudgedTurn(*one) for one in zip(questions, answers, known, strict=True)]


def grader(judge: Judge) -> Callable[[Problem, str], Verdict]:
    """A turn's score as a verdict: its value is the score over ten, right is what has more than five."""

    def grade(problem: Problem, text: str) -> Verdict:
        said = final_text(text)
        if not said.strip():
            return Verdict(Outcome.NO_ANSWER, "nothing is said after the thinking", 1 / HIGHEST)
        score = judge.grade_turn(exchanges(problem, said))
        if score is None:
            return Verdict(Outcome.UNKNOWN, "the judge's verdict could not be read")
        outcome = Outcome.CORRECT if score > HIGHEST / 2 else Outcome.WRONG
        return Verdict(outcome, f"{score:g} of 10, by the judge", score / HIGHEST)

    return grade
