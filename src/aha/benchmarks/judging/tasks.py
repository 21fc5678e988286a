"""Judged benchmarks as tasks: the verifier is a judge, asked once for each answer.

``reference``: SimpleQA's three grades (Wei et al., arXiv 2411.04368), an answer that states nothing is not attempted.
``correctness``: whether the reference's result is reached (FRAMES, Krishna et al., arXiv 2409.12941). ``pair``: the
answer against another model's, in both orders, because judges favour a place (Zheng et al., arXiv 2306.05685).
``conversation``: every turn's score (``conversations``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal, TypeVar

from aha.benchmarks.judging import conversations, rows
from aha.judges.asking import Judge, final_text
from aha.judges.verdicts import SCALE
from aha.tasks import rows as task_rows
from aha.tasks.base import Task
from aha.tasks.rows import RowReader
from aha.types import Outcome, Problem, Verdict

JudgedKind = Literal["reference", "correctness", "pair", "conversation"]
Grade = Callable[[Problem, str], Verdict]
Margins = tuple[float, ...]
Compare = Callable[[Problem, str], Margins]
Found = TypeVar("Found")
LOST = -SCALE[">>"]
"""The margin of an answer that says nothing."""


def task(kind: JudgedKind, judge: Judge, source: str | None, name: str) -> Task:
    """A benchmark whose answers ``judge`` grades."""
    compare = _remembered(_pair(judge)) if kind == "pair" else None
    asked = {"reference": _reference, "correctness": _correct, "conversation": conversations.grader}
    grade = _by_margins(compare) if compare is not None else _remembered(asked[kind](judge))

    several = kind == "conversation"
    reader = RowReader(conversations.make_problem if several else rows.make_problem, own_turns=several)

    def load(split: str, n: int, seed: int) -> list[Problem]:
        problems = task_rows.load(reader, name, split, n, seed, source, None)
        if several:
            conversations.tell_missing(name, problems)
        return problems

    def vote(problem: Problem, text: str) -> str | None:
        if kind in ("pair", "conversation") or grade(problem, text).outcome in (
            Outcome.NO_ANSWER,
            Outcome.UNKNOWN,
        ):
            return None
        return " ".join(final_text(text).casefold().split())

    return Task(name, load, grade, grade, vote, lambda p: str(p.metadata.get("domain") or name), compare)


def _remembered(ask: Callable[[Problem, str], Found]) -> Callable[[Problem, str], Found]:
    """Ask once for each answer to the latest problems, from any thread."""
    known: dict[tuple[str, str], Found] = {}
    lock = threading.Lock()

    def remembered(problem: Problem, text: str) -> Found:
        key = (problem.id, text)
        with lock:
            reply = known.get(key)
        if reply is None:
            reply = ask(problem, text)
            with lock:
                while len(known) >= 4096:
                    known.pop(next(iter(known)))
                known[key] = reply
        return reply

    return remembered


def question_of(problem: Problem) -> str:
    """What was asked, as the judge reads it."""
    return "\n\n".join(str(m["content"]) for m in problem.messages if m.get("role") in ("user", "system"))


def _against_the_answer(
    ask: Callable[[str, str, str], Found | None], verdict: Callable[[Found], Verdict]
) -> Grade:
    """What the judge says of a question, its answer and what was said, as a verdict; None could not be read."""

    def grade(problem: Problem, text: str) -> Verdict:
        said = final_text(text)
        if not said.strip():
            return Verdict(Outcome.NO_ANSWER, "nothing is said after the thinking")
        judged = ask(question_of(problem), str(problem.answer), said)
        if judged is None:
            return Verdict(Outcome.UNKNOWN, "the judge's verdict could not be read")
        return verdict(judged)

    return grade


def _reference(judge: Judge) -> Grade:
    outcomes = {"correct": Outcome.CORRECT, "incorrect": Outcome.WRONG, "not_attempted": Outcome.NO_ANSWER}
    return _against_the_answer(
        judge.attempt,
        lambda attempt: Verdict(outcomes[attempt], f"{attempt.replace('_', ' ')}, by the judge"),
    )


def _correct(judge: Judge) -> Grade:
    return _against_the_answer(
        judge.correct, lambda right: Verdict(Outcome.CORRECT if right else Outcome.WRONG, "by the judge")
    )


def _pair(judge: Judge) -> Compare:
    def compare(problem: Problem, text: str) -> Margins:
        question, said, other = question_of(problem), final_text(text), str(problem.answer)
        if not said.strip():
            return (LOST, LOST)
        first, swapped = judge.compare(question, said, other, 0), judge.compare(question, other, said, 1)
        return () if first is None or swapped is None else (first, -swapped + 0.0)

    return compare


def _by_margins(compare: Compare) -> Grade:
    """Better where more of both orders say so."""

    def grade(problem: Problem, text: str) -> Verdict:
        margins = compare(problem, text)
        if not margins:
            return Verdict(Outcome.UNKNOWN, "a verdict of the judge could not be read")
        worth = sum(map(preference, margins)) / len(margins)
        note = f"margins over the baseline: {', '.join(f'{m:g}' for m in margins)}"
        return Verdict(Outcome.CORRECT if worth > 0.5 else Outcome.WRONG, note, worth)

    return grade


def preference(margin: float) -> float:
    """1 for the better answer, 0 for the worse, a half where neither is."""
    return 1.0 if margin > 0 else 0.0 if margin < 0 else 0.5
