"""The grader's path over one rollout: where it looked, what it found, how it read both answers, and its verdict.

The verifier and the rewards are those that training and ``aha grade`` call. What was written down during the run stands
beside what they say now; where the two differ, a grader was changed since, or the run had something this page has not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aha import chat, plugins
from aha.rewards import get_reward
from aha.rewards.places import answer_text, choice_text, options_of, place_of, stated
from aha.runs.charts import clean, number
from aha.runs.report.data import Json, as_dict
from aha.tasks.base import Task
from aha.types import AhaError, Finish, Problem, Rollout, Verdict
from aha.view.why.programs import program_tests
from aha.view.why.rebuilt import problem_of, task_of

PLACES = {
    "tags": "in <answer> tags after the thinking", "boxed": "in the last \\boxed{} after the thinking",
    "any": "in <answer> tags or the last \\boxed{}, whichever is there",
    "": "where the task looks when no prompt says it: in <answer> tags, for mathematics in a box too",
}  # fmt: skip
MATH_TASKS = ("math", "gsm8k", "arithmetic")
"""Tasks whose verifier is the math verifier."""
GROUPED = ("kimi_length", "language", "cosine")
"""Rewards that look at the whole group."""
MOST = 1_000


@dataclass(slots=True)
class GraderPath:
    """What was found. ``steps`` are (what, words); ``rewards`` what was paid, and what would be now; ``faults`` what
    could not be asked again, and why."""

    steps: list[tuple[str, str]] = field(default_factory=list)
    verdict: dict[str, Any] | None = None
    lenient: dict[str, Any] | None = None
    rewards: list[dict[str, Any]] = field(default_factory=list)
    program: str | None = None
    tests: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def explain(members: Sequence[Json], at: int, problem: Json, stage: Path, settings: Json) -> dict[str, Any]:
    """Ask the graders again about member ``at`` of a group. Nothing of the run is changed."""
    path, row = GraderPath(), members[at]
    text = full_text(row)
    _format(path, text)
    try:
        task = task_of(problem, settings)
        asked_problem = problem_of(row, problem, stage, settings)
    except AhaError as error:
        path.faults.append(str(error))
        return asdict(path)
    _answer(path, asked_problem, text)
    if isinstance(asked_problem.answer, tuple):
        path.program, path.tests = program_tests(text, asked_problem.answer)
    path.verdict = _asked(path, task.verify, asked_problem, text)
    path.lenient = _asked(path, task.verify_lenient, asked_problem, text)
    path.rewards = _rewards(path, members, at, asked_problem, task, as_dict(settings.get("rewards")))
    return asdict(path)


def opened(text: str) -> bool:
    """Whether the prompt opened the thinking: the text closes one that it never began."""
    tags = [tag for tag in chat.find_tags(text) if not tag.quoted]
    return bool(tags) and tags[0].name == chat.END_THINK


def full_text(row: Json) -> str:
    """What the assistant said, with the ``<think>`` that the prompt may have opened."""
    text = str(row.get("text", ""))
    return chat.THINK + text if opened(text) else text


# --- the answer --------------------------------------------------------------------------------------------


def _format(path: GraderPath, text: str) -> None:
    parsed = chat.parse(text)
    path.steps.append(("Format", parsed.problem or "kept: <think>...</think>, then <answer>...</answer>"))
    if parsed.think is None:
        path.steps.append(("Thinking", "none is marked"))
    elif not parsed.body:
        path.steps.append(("Thinking", "never closed: what stands in it is no answer"))


def _answer(path: GraderPath, problem: Problem, text: str) -> None:
    kind, place = chat.kind_of(problem), place_of(problem)
    path.steps.append(("Looked for", PLACES.get(place or "", str(place))))
    if kind == "choice":
        path.steps.append(("Extracted", _said(choice_text(problem, text))))
    elif kind == "final" and _is_math(problem):
        _math(path, problem, text)
    elif kind != "program":
        path.steps.append(("Extracted", _said(stated(problem, text))))
    if isinstance(problem.answer, str):
        path.steps.append(("Reference", clean(problem.answer, MOST)))


def _is_math(problem: Problem) -> bool:
    return problem.task in MATH_TASKS


def _math(path: GraderPath, problem: Problem, text: str) -> None:
    """How the math verifier reads the answer and the reference."""
    from aha.rewards.math import extract, parse_gold
    from aha.rewards.math.parse import parse_value

    part = answer_text(problem, text)
    extracted = None if part is None else extract(part, options_of(problem))
    path.steps.append(("Extracted", _said(extracted.text if extracted else None)))
    if extracted:
        try:
            path.steps.append(("Read as", clean(repr(parse_value(extracted.text)), MOST)))
        except Exception as error:  # the reader's own words for what it cannot read
            path.steps.append(("Read as", f"unreadable: {clean(error, MOST)}"))
    try:
        path.steps.append(("Reference read as", clean(repr(parse_gold(str(problem.answer)).value), MOST)))
    except AhaError as error:
        path.steps.append(("Reference read as", clean(error, MOST)))


def _said(text: str | None) -> str:
    return "nothing stands there" if text is None or not text.strip() else clean(text, MOST)


def _asked(path: GraderPath, verify: Any, problem: Problem, text: str) -> dict[str, Any] | None:
    try:
        verdict: Verdict = verify(problem, text)
    except Exception as error:  # a verifier that fails is what somebody wants to see here
        path.faults.append(f"The verifier failed: {type(error).__name__}: {clean(error, MOST)}")
        return None
    return {"outcome": str(verdict.outcome), "note": clean(verdict.note, MOST), "value": verdict.value}


# --- rewards -----------------------------------------------------------------------------------------------


def _rewards(
    path: GraderPath,
    members: Sequence[Json],
    at: int,
    problem: Problem,
    task: Task,
    weights: Mapping[str, Any],
) -> list[dict[str, Any]]:
    stored, lines = as_dict(members[at].get("scores")), []
    weights = weights or dict.fromkeys(stored)
    group = [_rollout(member) for member in members]
    for name, weight in weights.items():
        before = as_dict(stored.get(name))
        line = {"name": name, "weight": number(weight), "stored": number(before.get("value")), "now": None}
        line |= {"stored_note": clean(before.get("note") or "", MOST), "note": "", "same": None}
        lines.append(line)
        if plugins.is_reference(name):
            line["note"] = "code of one's own: not run here"
            continue
        try:
            reward = get_reward(name, task.verify, task.verify_lenient)
            alone = name.partition(":")[0] not in GROUPED
            score = reward(problem, [group[at]])[0] if alone else reward(problem, group)[at]
        except Exception as error:
            path.faults.append(f"The reward {name} failed: {type(error).__name__}: {clean(error, MOST)}")
            continue
        line |= {"now": score.value, "note": clean(score.note, MOST)}
        line["same"] = _same(score.value, line["stored"]) if before else None
    return lines


def _same(now: float | None, stored: float | None) -> bool:
    return now == stored or (now is not None and stored is not None and abs(now - stored) < 1e-6)


def _rollout(row: Json) -> Rollout:
    """A rollout as rewards see it: its tokens are only counted by them."""
    import numpy as np

    tokens = int(number(row.get("tokens")) or 0)
    finish = str(row.get("finish"))
    text = str(row.get("text", ""))
    return Rollout(
        np.zeros(0, np.int64), np.zeros(tokens, np.int64), np.zeros(tokens, np.float32), text,
        Finish(finish) if finish in set(Finish) else Finish.STOP, opened_think=opened(text),
    )  # fmt: skip
