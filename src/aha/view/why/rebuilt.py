"""A problem again, from what a rollout file says of it, as its task's verifier needs it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from aha import chat, plugins
from aha.runs.report.data import Json, read_object
from aha.tasks import get_task, is_mixture, mixture, reader_of, row_sources
from aha.tasks.base import Task
from aha.types import AhaError, Problem

_NUMBERS = re.compile(r"\[(\d+(?:, \d+)*)\]")
_WHOLE = re.compile(r"-?\d+")
_BY_ROW = ("math", "gsm8k", "choice", "ifeval", "code", "code_full")
"""Tasks that read a problem again from the row that was written."""
MADE = ("countdown", "countdown_full", "logic", "logic_full", "code", "code_full", "general", "arithmetic")
"""Tasks that make their problems by themselves."""
_PLAIN = ("arithmetic",)
"""Tasks whose verifier looks at the answer alone."""


def task_of(problem: Json, settings: Json) -> Task:
    """The task that graded a rollout. Raises AhaError for one of the user's own: what a run folder names is not run."""
    name = str(problem.get("task") or settings.get("task") or "")
    if plugins.parts_of({"task": name}):
        raise AhaError(
            f"The task {name} is code of one's own, which this page does not run. What was written down stands above."
        )
    if name in ("math", "choice", "ifeval"):
        return get_task(name, data="none.jsonl")  # the rows are not read: only its verifier is asked
    return get_task(name)


def problem_of(row: Json, problem: Json, stage: Path, settings: Json) -> Problem:
    """The problem of a rollout, with the place where its answer was asked for. Raises AhaError where what was written
    down is not enough."""
    rebuilt = _made(row, problem, settings)
    asked = str(rebuilt.messages[-1]["content"])
    if asked != row.get("question"):
        raise AhaError("The problem cannot be made again: its question comes out as another one.")
    rebuilt = replace(
        rebuilt, id=str(row.get("problem_id", "")), language=str(problem.get("language") or rebuilt.language)
    )
    place = asked_place(stage)
    return replace(rebuilt, metadata={**rebuilt.metadata, chat.PLACE: place}) if place else rebuilt


def asked_place(stage: Path) -> str:
    """Where the stage's prompt asked for answers, as its checkpoints say; "" where none says it."""
    for file in [stage / "final" / "aha.json", *sorted(stage.glob("checkpoints/step-*/aha.json"))]:
        place = read_object(file, []).get("place")
        if place in ("tags", "boxed", "any"):
            return place
    return ""


def _made(row: Json, problem: Json, settings: Json) -> Problem:
    task = str(problem.get("task") or settings.get("task") or "")
    if not problem:
        raise AhaError("The run did not write down what this problem is: it is of an earlier version of aha.")
    if task in ("countdown", "countdown_full"):
        return _countdown(str(row.get("question", "")), str(problem.get("language") or "en"))
    if task in _BY_ROW:
        return reader_of("code" if task == "code_full" else task).make(dict(problem), 1, task)
    if task in _PLAIN:
        return _plain(row, problem, task)
    return _drawn_again(str(row.get("problem_id", "")), str(row.get("question", "")), task, settings)


def _countdown(question: str, language: str) -> Problem:
    from aha.tasks import countdown

    listed = _NUMBERS.search(question)
    if listed:
        numbers = [int(n) for n in listed[1].split(", ")]
        rest = question[: listed.start()] + question[listed.end() :]
        for target in _WHOLE.findall(rest):
            for difficulty in (countdown.TINY, countdown.FULL):
                if countdown.question(numbers, int(target), difficulty.operators, language) == question:
                    return countdown.make_problem(numbers, int(target), difficulty, language)
    raise AhaError("The numbers and the target cannot be read in the question.")


def _plain(row: Json, problem: Json, task: str) -> Problem:
    messages = ({"role": "user", "content": str(row.get("question", ""))},)
    return Problem(str(row.get("problem_id", "")), task, messages, problem.get("answer"))


def _drawn_again(name: str, question: str, task: str, settings: Json) -> Problem:
    """Drawn as the stage drew it: made problems are the same for the same seed."""
    source = str(settings.get("task") or task)
    for split, n, seed in _draws(settings) if _makes_its_own(source, settings) else ():
        try:
            drawn = _loaded(source, split, n, seed)
        except AhaError:
            continue
        again = drawn.get(name)
        if again is not None and again.messages[-1]["content"] == question:
            return again
    raise AhaError(
        "The problem is not among those that the stage's settings draw: what was written down stands above."
    )


def _draws(settings: Json) -> list[tuple[str, int, int]]:
    """(split, how many, seed) that a stage may have drawn."""
    seed, train = settings.get("seed"), settings.get("train_problems") or settings.get("problems")
    test, validation = settings.get("test_problems"), settings.get("eval_problems")
    test = test or settings.get("problems")
    draws = [("train", train, seed or 0), ("test", test, 0), ("validation", validation, 0)]
    return [(split, n, s) for split, n, s in draws if isinstance(n, int) and isinstance(s, int)]


def _makes_its_own(task: str, settings: Json) -> bool:
    """Whether a task draws all its problems by itself: nothing is fetched, and no code of one's own is run."""
    parts = list(mixture.parse(task)) if is_mixture(task) else [task]
    sources = settings.get("data") or settings.get("test_data") or row_sources(task)
    return not sources and all(part in MADE for part in parts)


@lru_cache(maxsize=6)
def _loaded(task: str, split: str, n: int, seed: int) -> Mapping[str, Problem]:
    return {problem.id: problem for problem in get_task(task).load(split, n, seed)}
