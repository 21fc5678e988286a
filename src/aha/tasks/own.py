"""Tasks from outside the package: a function that gives problems, or a small class with problems and a verifier.

A problem is a ``Problem``, a pair (question, answer), or a row with ``question`` (or ``prompt``) and ``answer``.
``problems`` may be a list, or a function (also a generator, also without end) of any of ``split``, ``n`` and ``seed``;
where it takes no ``split``, problems are held out by their text, 5% + 5%. ``verify(problem, text)`` says True or False,
a number from 0 to 1, a ``Verdict``, or None where it cannot grade; without it answers are compared by the math
verifier. reasoning-gym's data sets and environments of ``verifiers`` are tasks as they are (``adapters``).
"""

from __future__ import annotations

import inspect
import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from aha import plugins
from aha.rewards.places import stated
from aha.tasks import math_word
from aha.tasks.base import Task
from aha.tasks.splits import check_split, collect, short_hash, split_of
from aha.types import AhaError, Message, Outcome, Problem, Verdict

QUESTIONS = ("question", "prompt", "problem", "input")
ANSWERS = ("answer", "solution", "target", "output")
_DRAWS = ("split", "n", "seed")
SHARE = {"train": 2, "validation": 40, "test": 40}
"""Of a function that takes ``n`` and no ``split``: so many times more are drawn, since the others are held out."""
MANY = 1_000_000
"""Problems that are looked through at most for a split."""


def own_task(reference: str, data: str | None = None, test_data: str | None = None) -> Task:
    """The task that a reference names. Raises AhaError for what is none, and for rows that it does not take."""
    options = plugins.options(reference, plugins.reference(reference).options)
    return _task(plugins.resolve(reference), reference, options, {"data": data, "test_data": test_data})


def _task(
    part: Any, name: str, options: dict[str, Any], rows: Mapping[str, str | None], depth: int = 0
) -> Task:
    if isinstance(part, Task):
        return part
    from aha.tasks import adapters

    adapted = None if inspect.isclass(part) else adapters.wrap(part)
    if adapted is not None:
        return OwnTask(name, adapted).task()
    if not inspect.isclass(part) and hasattr(part, "problems"):
        return OwnTask(name, part).task()
    if isinstance(part, (list, tuple)):
        return OwnTask(name, _Plain(part)).task()
    if not callable(part) or depth > 1:
        raise AhaError(f"Task '{name}' is {type(part).__name__}: a task is a function that gives problems, or a class "
                       "with problems and verify.")  # fmt: skip
    if not inspect.isclass(part) and _gives_problems(part):
        return OwnTask(name, _Plain(_bound(part, name, options, rows))).task()
    result = _call(_bound(part, name, options, rows), name)
    if not inspect.isclass(part) and not hasattr(result, "problems") and _is_problems(result):
        return OwnTask(name, _Plain(_bound(part, name, options, rows))).task()
    return _task(result, name, {}, {}, depth + 1)


def _gives_problems(function: Any) -> bool:
    return inspect.isgeneratorfunction(function) or bool(set(_DRAWS) & _names(function))


def _is_problems(value: Any) -> bool:
    return isinstance(value, (list, tuple, Iterator))


def _takes_any(function: Any) -> bool:
    """Whether it takes any option."""
    try:
        kinds = [p.kind for p in inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        return False
    return inspect.Parameter.VAR_KEYWORD in kinds


def _names(function: Any) -> set[str]:
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return set()


def _bound(
    part: Any, name: str, options: Mapping[str, Any], rows: Mapping[str, str | None]
) -> Callable[..., Any]:
    """The function or class with its options and rows. Raises AhaError for those that it does not take."""
    names, asked = _names(part), {k: v for k, v in rows.items() if v is not None}
    if asked and "data" not in names:
        raise AhaError(f"Task '{name}' makes its own problems; it takes no --data.")
    if not _takes_any(part) and (unknown := [key for key in options if key not in names]):
        raise AhaError(
            f"Task '{name}' takes no option '{unknown[0]}'. It takes: {', '.join(names) or 'none'}."
        )
    kept = {**options, **{k: v for k, v in asked.items() if k in names}}
    return partial(part, **kept)


def _call(function: Callable[..., Any], name: str) -> Any:
    try:
        return function()
    except AhaError:
        raise
    except Exception as error:
        raise AhaError(f"Task '{name}' cannot be made: {plugins.location(error, '')}.") from error


@dataclass(slots=True)
class _Plain:
    """Problems without a verifier of their own."""

    problems: Any


class OwnTask:
    """An object with ``problems`` and perhaps ``verify``, ``verify_lenient``, ``vote`` and ``facet``."""

    def __init__(self, name: str, part: Any):
        self.name, self.part = name, part
        self.label = plugins.label(name)
        module = inspect.getsourcefile(type(part)) if not isinstance(part, _Plain) else ""
        self.file = module or ""

    def task(self) -> Task:
        """It as a task of the house."""
        own = getattr(self.part, "verify", None)
        if own is None:
            by_value = math_word.verify, math_word.verify_lenient, math_word.vote
            return Task(self.label, self.load, *by_value, self._facet())
        lenient, vote = getattr(self.part, "verify_lenient", own), getattr(self.part, "vote", _vote)
        return Task(self.label, self.load, self._verifier(own), self._verifier(lenient), vote, self._facet())

    def _facet(self) -> Callable[[Problem], str] | None:
        return getattr(self.part, "facet", None)

    def _verifier(self, verify: Callable[[Problem, str], Any]) -> Callable[[Problem, str], Verdict]:
        """Its verifier, whose faults are no answer's fault: what it cannot grade is UNKNOWN."""

        def call(problem: Problem, text: str) -> Verdict:
            try:
                return as_verdict(plugins.call(verify, problem, text, file=_file_of(verify)))
            except plugins.CallFailed as error:
                return Verdict(Outcome.UNKNOWN, str(error))

        return call

    def load(self, split: str, n: int, seed: int) -> list[Problem]:
        """At most ``n`` problems of a split, always the same for one seed. Raises AhaError where there are none."""
        check_split(self.label, split)
        source = self.part.problems
        names = _names(source) if callable(source) else set()
        shown = self._all(source, split, n, seed)
        if "split" not in names:
            shown = (p for p in shown if split_of(_asked(p)) == split)
        try:
            problems = collect(self.label, itertools.islice(shown, MANY), split, n)
        except AhaError as error:
            raise AhaError(
                f"Task '{self.name}' has no problems for the {split} split"
                + (": 5% of them are held out for it by their text. Give more, or take `split`." if "split" not in names
                   else ".")
            ) from error  # fmt: skip
        if not callable(source) or not names & {"seed"}:
            random.Random(f"{self.label}:{split}:{seed}").shuffle(problems)
        return problems

    def _all(self, source: Any, split: str, n: int, seed: int) -> Iterator[Problem]:
        arguments: dict[str, Any] = {"split": split, "n": n, "seed": seed}
        if callable(source):
            names = _names(source)
            if "split" not in names:
                arguments["n"] = n * SHARE[split] + 64
            kept = {k: v for k, v in arguments.items() if k in names}
            source = source(**kept)
        rows: Iterator[Any] = iter(source)
        number = 0
        while True:
            number += 1
            try:
                row = next(rows)
            except StopIteration:
                return
            except AhaError:
                raise
            except Exception as error:
                raise AhaError(
                    f"Task '{self.name}' cannot give its problems: {plugins.location(error, '')}."
                ) from error
            yield as_problem(row, self.label, number)


@lru_cache(maxsize=64)
def _file_of(function: Any) -> str:
    try:
        return inspect.getsourcefile(function) or ""
    except TypeError:
        return ""


def as_problem(row: Any, task: str, number: int) -> Problem:
    """What a task of one's own gives, as a problem. Raises AhaError for what has no question."""
    if isinstance(row, Problem):
        return row
    if isinstance(row, (tuple, list)) and len(row) == 2:
        row = {"question": row[0], "answer": row[1]}
    if not isinstance(row, Mapping):
        raise AhaError(f"Task '{task}': problem {number} is {type(row).__name__}: give (question, answer), a row with "
                       "question and answer, or a Problem.")  # fmt: skip
    asked = next((k for k in QUESTIONS if row.get(k)), None)
    if asked is None:
        raise AhaError(f"Task '{task}': problem {number} has none of {', '.join(QUESTIONS)}.")
    answer = next((k for k in ANSWERS if row.get(k) is not None), None)
    value = None if answer is None else row[answer]
    rest = {k: v for k, v in row.items() if k not in (asked, answer, "id", "language")}
    messages = _messages(row[asked])
    return Problem(
        id=str(row.get("id") or f"{task}-{short_hash('|'.join(str(m['content']) for m in messages))}"),
        task=task,
        messages=messages,
        answer=None if value is None else str(value),
        language=str(row.get("language") or "en"),
        metadata=rest,
    )


def _messages(asked: Any) -> tuple[Message, ...]:
    if isinstance(asked, str):
        return ({"role": "user", "content": asked},)
    return tuple({"role": str(m["role"]), "content": str(m["content"])} for m in asked)


def as_verdict(result: Any) -> Verdict:
    """What a verifier says as a verdict. Raises Failed for what is neither truth nor a number."""
    if isinstance(result, Verdict):
        return result
    if result is None:
        return Verdict(Outcome.UNKNOWN, "the verifier gave None")
    if isinstance(result, bool):
        return Verdict(Outcome.CORRECT if result else Outcome.WRONG)
    try:
        value = float(result)
    except (TypeError, ValueError) as error:
        raise plugins.CallFailed(f"the verifier gave {type(result).__name__}, no number") from error
    if value != value or value in (float("inf"), float("-inf")):
        raise plugins.CallFailed(f"the verifier gave {value}")
    return Verdict(Outcome.CORRECT if value >= 1 else Outcome.WRONG, f"scored {value:g}", value)


def _vote(problem: Problem, text: str) -> str | None:
    """The answer where the prompt asked for it."""
    answer = stated(problem, text)
    return answer.strip() if answer and answer.strip() else None


def _asked(problem: Problem) -> str:
    return str(problem.messages[-1].get("content", "")).strip()
