"""Graded answers: what figures are counted from, one record a problem, kept as JSON Lines.

A record holds a few numbers a sample, so that ten thousand problems with sixteen samples fit into memory; the texts
and the reasons of the verdicts are in the file beside them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aha.benchmarks.overthinking import tokens_after_answer
from aha.judges.asking import final_text
from aha.rewards.accuracy import full_text, given_up
from aha.tasks.base import Task
from aha.types import AhaError, Finish, Group, Outcome, Scored


@dataclass(frozen=True, slots=True)
class GradedTurn:
    """One turn of a conversation. ``right`` and ``lenient`` are None where nothing was demanded or it was not graded;
    ``followed`` and ``followed_loosely``: of each thing that was demanded whether it is kept, of which the first
    ``repeated`` were demanded the turn before. ``score``: what the grader says that it is worth, 0..1."""

    right: bool | None
    lenient: bool | None
    tokens: int
    followed: tuple[bool, ...] = ()
    followed_loosely: tuple[bool, ...] = ()
    repeated: int = 0
    score: float | None = None


@dataclass(frozen=True, slots=True)
class GradedAnswer:
    """One graded answer. ``right`` and ``lenient`` are None where it could not be graded. ``ballot``: its answer in a
    vote, "" without one. ``after``: tokens that were written after the right answer first stood in the text; None where
    it never did or nobody can tell. ``score``: what the grader says that it is worth, 0..1, where it tells parts.
    ``chars`` of it that a judge was shown; ``margins`` over another model's answer, where one compared them. ``turns``
    of a conversation that was asked turn by turn. ``unanswered``: how the completion ended, where it is no
    answer."""

    right: bool | None
    lenient: bool | None
    format: bool
    ballot: str
    tokens: int
    truncated: bool
    after: int | None = None
    score: float | None = None
    chars: int = 0
    margins: tuple[float, ...] = ()
    turns: tuple[GradedTurn, ...] = ()
    unanswered: str = ""


@dataclass(frozen=True, slots=True)
class GradedProblem:
    """One problem's graded answers. ``kind``: its level or subject, "" where the task tells none apart.
    ``reference_chars`` of the answer that a judge compares with; ``difficulty`` of an instruction, where its row says
    it."""

    problem: str
    kind: str
    samples: tuple[GradedAnswer, ...]
    reference_chars: int = 0
    difficulty: float | None = None


def record(group: Group, task: Task, strict: bool) -> tuple[GradedProblem, dict[str, Any]]:
    """A graded group as its record, and as the row that is written of it. With ``strict`` an answer must keep the think
    and answer format to count."""
    samples = [_sample(group, member, task, strict) for member in group.members]
    kind = task.facet(group.problem) if task.facet is not None else ""
    answer, difficulty = group.problem.answer, group.problem.metadata.get("instruction_difficulty")
    graded = GradedProblem(
        group.problem.id,
        kind,
        tuple(sample for sample, _ in samples),
        len(answer) if isinstance(answer, str) else 0,
        float(difficulty) if isinstance(difficulty, (int, float)) else None,
    )
    row = {
        "problem": graded.problem,
        "kind": kind,
        "question": group.problem.messages[-1].get("content", ""),
        "answer": answer if isinstance(answer, str) else None,
        "reference_chars": graded.reference_chars,
        "difficulty": graded.difficulty,
        "samples": [plain(sample) | said for sample, said in samples],
    }
    return graded, row


def _sample(group: Group, member: Scored, task: Task, strict: bool) -> tuple[GradedAnswer, dict[str, Any]]:
    rollout, score, form = member.rollout, member.scores["accuracy"], member.scores["format"].value == 1
    text = full_text(rollout)
    right = None if score.value is None else score.value > 0.5 and (form or not strict)
    unanswered = "" if given_up(rollout) is None else rollout.finish.value
    loosely = Outcome.UNKNOWN if unanswered else task.verify_lenient(group.problem, text).outcome
    lenient = None if loosely is Outcome.UNKNOWN else loosely is Outcome.CORRECT
    tokens = len(rollout.completion_ids)
    sample = GradedAnswer(
        right,
        lenient,
        form,
        "" if unanswered else _ballot(task.vote(group.problem, text)),
        tokens,
        rollout.finish is Finish.LENGTH,
        tokens_after_answer(group.problem, rollout.text, tokens, task) if right or lenient else None,
        score.value,
        len(final_text(text)),
        task.margins(group.problem, text) if task.margins is not None and not unanswered else (),
        unanswered=unanswered,
    )
    return sample, {"text": rollout.text, "finish": rollout.finish.value, "why": score.note}


def _ballot(vote: str | None) -> str:
    """A vote in at most 32 characters: equal votes stay equal."""
    if vote is None:
        return ""
    return vote if 0 < len(vote) <= 32 else hashlib.sha256(vote.encode()).hexdigest()[:32]


_FIELDS = tuple(GradedAnswer.__dataclass_fields__)


def plain(sample: GradedAnswer) -> dict[str, Any]:
    """An answer as it is written."""
    return asdict(sample)


def read(file: Path) -> Iterator[GradedProblem]:
    """The records of a file, one after another. A last line that was cut while it was written is left out: its problem
    is asked again.

    Raises AhaError for any other line that cannot be read.
    """
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield _read(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                if not line.endswith("\n"):
                    return
                raise AhaError(
                    f"{file}, line {number}, is no graded problem ({error}). Remove the line: its problem is "
                    "asked again."
                ) from error


def _read(row: Mapping[str, Any]) -> GradedProblem:
    samples = tuple(_read_sample(s) for s in row["samples"])
    return GradedProblem(
        str(row["problem"]),
        str(row["kind"]),
        samples,
        int(row.get("reference_chars", 0)),
        row.get("difficulty"),
    )


def _read_sample(sample: Mapping[str, Any]) -> GradedAnswer:
    fields: dict[str, Any] = {name: sample[name] for name in _FIELDS if name in sample}
    turns = tuple(_read_turn(turn) for turn in sample.get("turns", ()))
    return GradedAnswer(**{**fields, "margins": tuple(sample.get("margins", ())), "turns": turns})


def _read_turn(turn: Mapping[str, Any]) -> GradedTurn:
    marks = {name: tuple(turn[name]) for name in ("followed", "followed_loosely")}
    return GradedTurn(**{**turn, **marks})


def by_problem(records: Sequence[GradedProblem]) -> dict[str, GradedProblem]:
    """Records by their problem's id."""
    return {record.problem: record for record in records}
