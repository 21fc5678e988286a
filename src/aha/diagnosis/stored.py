"""The rollouts that a stage has stored, as groups again: what a reward would be shown, as far as files hold it.

Token ids are not stored. A stored rollout's ``completion_ids`` [C] are as many zeros as it had tokens, so that
lengths are right and nothing else can be read off them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aha import chat
from aha.runs.charts import number
from aha.runs.report.data import as_dict
from aha.tasks import get_task
from aha.tasks.base import Task
from aha.types import AhaError, Finish, Group, Problem, Rollout, Score, Scored

MOST, LONGEST = 10_000_000, 1 << 20
"""Problems of a stage, and tokens of a completion, above which a file is damaged."""
Rows = Sequence[Mapping[str, Any]]
_PLACES: Mapping[str, chat.Place] = {"r1_zero": "tags", "think": "tags", "boxed": "boxed", "bare": "any"}


def step_files(stage: Path) -> list[tuple[int, Path]]:
    """(step, file) of every step whose rollouts are stored, in order."""
    files = [
        (int(file.stem.rpartition("_")[2]), file)
        for file in (stage / "rollouts").glob("step_*.jsonl")
        if file.stem.rpartition("_")[2].isdecimal()
    ]
    return sorted(files)


def evenly(files: Sequence[tuple[int, Path]], most: int) -> list[tuple[int, Path]]:
    """At most so many of the files, evenly over all."""
    return [files[i * len(files) // most] for i in range(most)] if len(files) > most else list(files)


def load_task(settings: Mapping[str, Any]) -> Task:
    """The task of a stage's settings. Raises AhaError where it, or its rows, are not there any more."""
    data, test_data = settings.get("data"), settings.get("test_data")
    return get_task(str(settings.get("task", "countdown")), data, test_data)


def count(settings: Mapping[str, Any], name: str, default: int = 0) -> int:
    """A setting of a stored run that is a number of things. Raises AhaError for what is none."""
    value = number(settings.get(name, default))
    if value is None or not 0 <= value <= MOST:
        raise AhaError(
            f"{name}={str(settings[name])[:80]!r} in the run's config.json is no number of things."
        )
    return int(value)


def load_problems(task: Task, settings: Mapping[str, Any]) -> dict[str, Problem]:
    """The problems that a stage's rollouts were about, by id, with all that their task knows of them. Raises AhaError
    where its rows are not there any more."""
    seed = settings.get("seed", 0)
    train = task.load("train", count(settings, "train_problems", 8192), seed if isinstance(seed, int) else 0)
    return {problem.id: problem for problem in train}


def groups(rows: Rows, known: Mapping[str, Problem] | None = None, prompt: str = "") -> list[Group]:
    """Rows of one file as groups, in their order. ``known`` problems take the place of what rows say of theirs, where
    they ask the same; ``prompt`` is the name of the run's, for files that do not say where answers were asked to
    stand."""
    parts: list[list[Mapping[str, Any]]] = []
    for row in rows:
        if not parts or _begins(row, parts[-1][-1]):
            parts.append([])
        parts[-1].append(row)
    return [_group(part, known or {}, prompt) for part in parts]


def _begins(row: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether a group begins with a row; its first members may be among the lines that could not be read."""
    member, last = number(row.get("member")) or 0, number(before.get("member")) or 0
    return row.get("problem_id") != before.get("problem_id") or member <= last


def asked_otherwise(rows: Rows, known: Mapping[str, Problem]) -> set[str]:
    """Ids that stand for another question in ``known`` than in the rows: the task's rows were changed since."""
    ids = ((str(row.get("problem_id", "")), row) for row in rows)
    return {name for name, row in ids if name in known and not _same_question(known[name], row)}


def _same_question(problem: Problem, row: Mapping[str, Any]) -> bool:
    return row.get("question") in (None, problem.messages[-1].get("content", ""))


def _group(rows: Rows, known: Mapping[str, Problem], prompt: str) -> Group:
    return Group(_problem(rows[0], known, prompt), tuple(map(_member, rows)))


def _problem(row: Mapping[str, Any], known: Mapping[str, Problem], prompt: str) -> Problem:
    name = str(row.get("problem_id", ""))
    problem = known.get(name)
    problem = problem if problem is not None and _same_question(problem, row) else _rebuilt(name, row)
    place = row.get("place") or _PLACES.get(prompt)
    return replace(problem, metadata={**problem.metadata, chat.PLACE: place}) if place else problem


def _rebuilt(name: str, row: Mapping[str, Any]) -> Problem:
    """The problem as far as its row tells."""
    said = as_dict(row.get("problem"))
    asked = said.get("messages") or ({"role": "user", "content": str(row.get("question", ""))},)
    golds = said.get("answer", row.get("answer"))
    several = isinstance(golds, list)
    kept = {key: said[key] for key in ("level", "domain") if key in said}
    kept |= {"options": tuple(said["choices"])} if said.get("choices") else {}
    kept |= {"answers": tuple(golds)} if several else {}
    answer = golds[0] if several and golds else golds
    return Problem(
        id=name,
        task=str(said.get("task", "")),
        messages=tuple(dict(m) for m in asked),
        answer=None if answer is None or (several and not golds) else str(answer),
        language=str(said.get("language", "en")),
        metadata=kept,
    )


def _member(row: Mapping[str, Any]) -> Scored:
    tokens, mean = number(row.get("tokens")) or 0.0, number(row.get("mean_logprob"))
    tokens = int(min(max(tokens, 0.0), LONGEST))
    scores = {name: as_dict(score) for name, score in as_dict(row.get("scores")).items()}
    said = str(row.get("finish", ""))
    finish = Finish(said) if said in set(Finish) else Finish.STOP
    rollout = Rollout(
        prompt_ids=np.zeros(0, np.int32),
        completion_ids=np.zeros(tokens, np.int32),
        logprobs=np.full(tokens, 0.0 if mean is None else mean, np.float32),
        text=str(row.get("text", "")),
        finish=finish,
        policy_version=int(number(row.get("policy_version")) or 0),
        opened_think=bool(row.get("opened_think", False)),
    )
    graded = {name: _score(score) for name, score in scores.items()}
    return Scored(rollout, graded, number(row.get("reward")))


_SILENT = ("a general question: no rule", "a reasoning question: no reward model", "not judged")
"""Notes of rewards that had nothing to say, in files that do not mark them."""


def _score(row: Mapping[str, Any]) -> Score:
    note = str(row.get("note", ""))
    silent = row.get("silent") is True or note in _SILENT
    return Score(number(row.get("value")), note, silent=silent)
